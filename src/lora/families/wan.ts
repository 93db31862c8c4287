import { filePlaces, UMT5 } from './encoders.ts'
import { pathsOfRows, type Row, renameByRows, same, within } from './rows.ts'
import { DIFFUSERS, KOHYA } from './targets.ts'
import type { Family } from './types.ts'

const attention = (original: string, diffusers: string): readonly Row[] =>
  within(`${original}.`, `${diffusers}.`, [
    ['q', 'to_q'],
    ['k', 'to_k'],
    ['v', 'to_v'],
    ['o', 'to_out.0'],
    ...same('norm_q', 'norm_k'),
  ])

/** diffusers: scripts/convert_wan_to_diffusers.py, TRANSFORMER_KEYS_RENAME_DICT @2026-08-23. */
const ROWS: readonly Row[] = [
  ...same('patch_embedding'),
  ['time_embedding.0', 'condition_embedder.time_embedder.linear_1'],
  ['time_embedding.2', 'condition_embedder.time_embedder.linear_2'],
  ['text_embedding.0', 'condition_embedder.text_embedder.linear_1'],
  ['text_embedding.2', 'condition_embedder.text_embedder.linear_2'],
  ['time_projection.1', 'condition_embedder.time_proj'],
  ['head.head', 'proj_out'],
  ['head.modulation', 'scale_shift_table'],
  // of models that are given an image
  ['img_emb.proj.0', 'condition_embedder.image_embedder.norm1'],
  ['img_emb.proj.1', 'condition_embedder.image_embedder.ff.net.0.proj'],
  ['img_emb.proj.3', 'condition_embedder.image_embedder.ff.net.2'],
  ['img_emb.proj.4', 'condition_embedder.image_embedder.norm2'],
  ['img_emb.emb_pos', 'condition_embedder.image_embedder.pos_embed'],
  ...within('blocks.N.', 'blocks.N.', [
    ...attention('self_attn', 'attn1'),
    ...attention('cross_attn', 'attn2'),
    ['cross_attn.k_img', 'attn2.add_k_proj'],
    ['cross_attn.v_img', 'attn2.add_v_proj'],
    ['cross_attn.norm_k_img', 'attn2.norm_added_k'],
    ['norm3', 'norm2'],
    ['ffn.0', 'ffn.net.0.proj'],
    ['ffn.2', 'ffn.net.2'],
    ['modulation', 'scale_shift_table'],
  ]),
]

const MUSUBI_SOURCE =
  'diffusers: loaders/lora_conversion_utils.py, _convert_musubi_wan_lora_to_diffusers @2026-08-23'

/** The ten projections of a block. */
const PROJECTIONS = [
  ...['self_attn', 'cross_attn'].flatMap((part) => ['q', 'k', 'v', 'o'].map((one) => `${part}.${one}`)),
  'ffn.0',
  'ffn.2',
]

export const WAN: Family = {
  id: 'wan',
  name: 'Wan',
  component: 'transformer',
  marks: [
    { form: 'original', tensors: ['head.modulation', 'blocks.0.self_attn.q.weight'] },
    {
      form: 'diffusers',
      tensors: ['condition_embedder.time_proj.weight', 'blocks.0.attn1.to_q.weight'],
    },
  ],
  encoders: [UMT5],
  encoderPlaces: filePlaces(UMT5),
  targets: {
    kohya: { form: 'original', ...KOHYA },
    // diffusers raises at an alpha outside the blocks: _convert_non_diffusers_wan_lora_to_diffusers @2026-08-23
    comfyui: { form: 'original', ...KOHYA, alpha: /^blocks\./ },
    diffusers: { form: 'diffusers', ...DIFFUSERS },
  },
  portable: 'comfyui',
  loaders: ['ComfyUI', 'diffusers'],
  gaps: [
    {
      loader: 'diffusers',
      naming: 'kohya',
      paths: /^(?!blocks\.)/,
      effect: 'refused',
      reason: 'diffusers converts modules of the blocks alone, and refuses a file with any other',
      source: MUSUBI_SOURCE,
    },
    {
      loader: 'diffusers',
      naming: 'comfyui',
      paths: /^patch_embedding$/,
      effect: 'refused',
      reason: 'diffusers has no name for patch_embedding, and refuses a file with it',
      source:
        'diffusers: loaders/lora_conversion_utils.py, _convert_non_diffusers_wan_lora_to_diffusers @2026-08-23',
    },
    {
      loader: 'ComfyUI',
      naming: 'diffusers',
      effect: 'dropped',
      reason: 'ComfyUI has no table of diffusers’ names of Wan',
      source: 'ComfyUI: comfy/lora.py, model_lora_keys_unet @2025-10-12',
    },
  ],
  encodersInDiffusers: { kohya: 'refused', comfyui: 'refused' },
  completeness: [PROJECTIONS, ['cross_attn.k_img', 'cross_attn.v_img']].map((modules) => ({
    loader: 'diffusers',
    naming: 'kohya',
    blocks: ['blocks.'],
    modules,
    source: MUSUBI_SOURCE,
  })),
  modules: pathsOfRows(ROWS),
  rename: renameByRows(ROWS),
}
