import { filePlaces, GEMMA2, QWEN3 } from './encoders.ts'
import { fused, pathsOfRows, type Row, renameByRows, same, sharing, within } from './rows.ts'
import { DIFFUSERS, KOHYA } from './targets.ts'
import type { Family } from './types.ts'

/** Queries have all heads, keys and values share fewer; where they don't, the shares are as wide as the queries. */
const qkv = (path: string) => [...fused(`${path}.to_q`), ...sharing(`${path}.to_k`, `${path}.to_v`)]

const luminaBlock = (at: string, norm: string): readonly Row[] =>
  within(at, at, [
    ['attention.qkv', qkv('attn')],
    ['attention.out', 'attn.to_out.0'],
    ['attention.q_norm', 'attn.norm_q'],
    ['attention.k_norm', 'attn.norm_k'],
    ['feed_forward.w1', 'feed_forward.linear_1'],
    ['feed_forward.w2', 'feed_forward.linear_2'],
    ['feed_forward.w3', 'feed_forward.linear_3'],
    ['adaLN_modulation.1', 'norm1.linear'],
    ['attention_norm1', norm],
    ['attention_norm2', 'norm2'],
    ...same('ffn_norm1', 'ffn_norm2'),
  ])

/** diffusers: loaders/single_file_utils.py, convert_lumina2_to_diffusers @2026-08-23. */
const LUMINA_ROWS: readonly Row[] = [
  ...same('x_embedder'),
  ['t_embedder.mlp.0', 'time_caption_embed.timestep_embedder.linear_1'],
  ['t_embedder.mlp.2', 'time_caption_embed.timestep_embedder.linear_2'],
  ['cap_embedder.0', 'time_caption_embed.caption_embedder.0'],
  ['cap_embedder.1', 'time_caption_embed.caption_embedder.1'],
  ['final_layer.adaLN_modulation.1', 'norm_out.linear_1'],
  ['final_layer.linear', 'norm_out.linear_2'],
  // used by nobody
  ['norm_final', []],
  ...luminaBlock('layers.N.', 'norm1.norm'),
  ...luminaBlock('noise_refiner.N.', 'norm1.norm'),
  ...luminaBlock('context_refiner.N.', 'norm1'),
]

const zImageBlock = (at: string): readonly Row[] =>
  within(at, at, [
    ['attention.qkv', qkv('attention')],
    ['attention.out', 'attention.to_out.0'],
    ['attention.q_norm', 'attention.norm_q'],
    ['attention.k_norm', 'attention.norm_k'],
    ...same('feed_forward.w1', 'feed_forward.w2', 'feed_forward.w3', 'adaLN_modulation.0'),
    ...same('attention_norm1', 'attention_norm2', 'ffn_norm1', 'ffn_norm2'),
  ])

/** diffusers: loaders/single_file_utils.py, convert_z_image_transformer_checkpoint_to_diffusers @2026-08-23. */
const Z_IMAGE_ROWS: readonly Row[] = [
  ['x_embedder', 'all_x_embedder.2-1'],
  ['final_layer.linear', 'all_final_layer.2-1.linear'],
  ['final_layer.adaLN_modulation.1', 'all_final_layer.2-1.adaLN_modulation.1'],
  ...same('t_embedder.mlp.0', 't_embedder.mlp.2', 'cap_embedder.0', 'cap_embedder.1'),
  ...same('x_pad_token', 'cap_pad_token'),
  ['norm_final', []],
  ...['layers.N.', 'noise_refiner.N.', 'context_refiner.N.'].flatMap(zImageBlock),
]

const LUMINA_SOURCE =
  'diffusers: loaders/lora_conversion_utils.py, _convert_non_diffusers_lumina2_lora_to_diffusers @2026-08-23'

/** The layers of a block that no time modulates. */
const UNMODULATED = ['attention.qkv', 'attention.out', ...[1, 2, 3].map((n) => `feed_forward.w${n}`)]

export const LUMINA_2: Family = {
  id: 'lumina2',
  name: 'Lumina 2',
  component: 'transformer',
  marks: [
    { form: 'original', tensors: ['cap_embedder.1.weight', 'layers.0.adaLN_modulation.1.weight'] },
    {
      form: 'diffusers',
      tensors: ['time_caption_embed.caption_embedder.1.weight', 'layers.0.attn.to_q.weight'],
    },
  ],
  encoders: [GEMMA2],
  encoderPlaces: filePlaces(GEMMA2),
  targets: {
    kohya: { form: 'original', ...KOHYA },
    // diffusers fails at lora_down, and at an alpha
    comfyui: { form: 'original', ...DIFFUSERS },
    diffusers: { form: 'diffusers', ...DIFFUSERS },
  },
  portable: 'comfyui',
  loaders: ['ComfyUI', 'diffusers', 'kohya'],
  gaps: [
    {
      loader: 'kohya',
      naming: 'kohya',
      paths: /^(?:x_embedder|t_embedder\.mlp\.[02]|cap_embedder\.1)$/,
      effect: 'dropped',
      reason: 'kohya builds modules inside JointTransformerBlock and FinalLayer alone',
      source: 'sd-scripts: networks/lora_lumina.py, LUMINA_TARGET_REPLACE_MODULE @2026-02-16',
    },
    {
      loader: 'diffusers',
      naming: 'kohya',
      effect: 'dropped',
      reason: 'diffusers has no converter for kohya’s names of Lumina 2',
      source: LUMINA_SOURCE,
    },
    {
      loader: 'diffusers',
      naming: 'comfyui',
      down: '.lora_down.weight',
      effect: 'refused',
      reason: 'diffusers looks for lora_A alone',
      source: LUMINA_SOURCE,
    },
    {
      loader: 'diffusers',
      naming: 'comfyui',
      paths: /^(?!(?:layers|noise_refiner|context_refiner)\.)/,
      effect: 'refused',
      reason: 'diffusers converts modules of the blocks alone, and refuses a file with any other',
      source: LUMINA_SOURCE,
    },
    {
      loader: 'ComfyUI',
      naming: 'diffusers',
      effect: 'dropped',
      reason: 'of the diffusers names of this architecture ComfyUI has Z-Image’s alone',
      source: 'ComfyUI: comfy/utils.py, z_image_to_diffusers, mid-2026',
    },
  ],
  encodersInDiffusers: { kohya: 'dropped', comfyui: 'refused' },
  completeness: [
    { blocks: ['layers.', 'noise_refiner.'], modules: [...UNMODULATED, 'adaLN_modulation.1'] },
    { blocks: ['context_refiner.'], modules: UNMODULATED },
  ].map((rule) => ({ loader: 'diffusers', naming: 'comfyui', ...rule, source: LUMINA_SOURCE })),
  modules: pathsOfRows(LUMINA_ROWS),
  rename: renameByRows(LUMINA_ROWS),
}

const Z_IMAGE_SOURCE =
  'diffusers: loaders/lora_conversion_utils.py, _convert_non_diffusers_z_image_lora_to_diffusers @2026-08-23'

export const Z_IMAGE: Family = {
  id: 'z-image',
  name: 'Z-Image',
  component: 'transformer',
  // its modulation has no activation before the layer, so that the layer is the first
  marks: [
    { form: 'original', tensors: ['layers.0.adaLN_modulation.0.weight', 'layers.0.attention.qkv.weight'] },
    { form: 'diffusers', tensors: ['layers.0.adaLN_modulation.0.weight', 'layers.0.attention.to_q.weight'] },
  ],
  encoders: [QWEN3],
  encoderPlaces: filePlaces(QWEN3),
  targets: {
    kohya: { form: 'original', ...KOHYA },
    comfyui: { form: 'original', ...KOHYA },
    diffusers: { form: 'diffusers', ...DIFFUSERS },
  },
  portable: 'diffusers',
  loaders: ['ComfyUI', 'diffusers'],
  gaps: (['kohya', 'comfyui'] as const).map((naming) => ({
    loader: 'diffusers',
    naming,
    paths: /\.attention\.qkv$|^(?:x_embedder$|final_layer\.)/,
    effect: 'dropped',
    reason: 'diffusers passes the original’s fused and outer modules on under names that its model lacks',
    source: Z_IMAGE_SOURCE,
  })),
  encodersInDiffusers: { kohya: 'dropped', comfyui: 'dropped' },
  completeness: [],
  modules: pathsOfRows(Z_IMAGE_ROWS),
  rename: renameByRows(Z_IMAGE_ROWS),
}
