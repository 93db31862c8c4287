import { CLIP_L_OF_HUNYUAN, filePlaces, LLAMA } from './encoders.ts'
import { fused, pathsOfRows, type Row, renameByRows, type Slice, sharing } from './rows.ts'
import { DIFFUSERS, KOHYA } from './targets.ts'
import type { Denoiser, Family, Form, Rename } from './types.ts'

type Halves = Row[2]
type Triple = readonly [
  tencent: string,
  repacked: string,
  diffusers: string | readonly Slice[],
  halves?: Exclude<Halves, undefined>,
]

const stream = (
  name: string,
  added: readonly Slice[],
  to: Readonly<Record<string, string>>,
): readonly Triple[] => [
  [`${name}_mod.linear`, `${name}_mod.lin`, to.mod],
  [`${name}_attn_qkv`, `${name}_attn.qkv`, added],
  [`${name}_attn_q_norm.weight`, `${name}_attn.norm.query_norm.scale`, to.q],
  [`${name}_attn_k_norm.weight`, `${name}_attn.norm.key_norm.scale`, to.k],
  [`${name}_attn_proj`, `${name}_attn.proj`, to.out],
  [`${name}_mlp.fc1`, `${name}_mlp.0`, `${to.mlp}.net.0.proj`],
  [`${name}_mlp.fc2`, `${name}_mlp.2`, `${to.mlp}.net.2`],
]

const below = (from: string, to: string, rows: readonly Triple[]): readonly Triple[] =>
  rows.map(([tencent, repacked, diffusers]) => [
    from + tencent,
    from + repacked,
    typeof diffusers === 'string'
      ? to + diffusers
      : diffusers.map(({ path, width }) => ({ path: to + path, width })),
  ])

/**
 * Tencent's names and diffusers' (diffusers: scripts/convert_hunyuan_video_to_diffusers.py @2026-08-23), and ComfyUI's between them
 * (comfy/supported_models.py, HunyuanVideo.process_unet_state_dict @2025-10-12).
 */
const ROWS: readonly Triple[] = [
  ['img_in.proj', 'img_in.proj', 'x_embedder.proj'],
  ['time_in.mlp.0', 'time_in.in_layer', 'time_text_embed.timestep_embedder.linear_1'],
  ['time_in.mlp.2', 'time_in.out_layer', 'time_text_embed.timestep_embedder.linear_2'],
  ['vector_in.in_layer', 'vector_in.in_layer', 'time_text_embed.text_embedder.linear_1'],
  ['vector_in.out_layer', 'vector_in.out_layer', 'time_text_embed.text_embedder.linear_2'],
  ['guidance_in.mlp.0', 'guidance_in.in_layer', 'time_text_embed.guidance_embedder.linear_1'],
  ['guidance_in.mlp.2', 'guidance_in.out_layer', 'time_text_embed.guidance_embedder.linear_2'],
  ['final_layer.linear', 'final_layer.linear', 'proj_out'],
  ['final_layer.adaLN_modulation.1', 'final_layer.adaLN_modulation.1', 'norm_out.linear', 'swapped'],
  ...below('txt_in.', 'context_embedder.', [
    ['input_embedder', 'input_embedder', 'proj_in'],
    ['t_embedder.mlp.0', 't_embedder.in_layer', 'time_text_embed.timestep_embedder.linear_1'],
    ['t_embedder.mlp.2', 't_embedder.out_layer', 'time_text_embed.timestep_embedder.linear_2'],
    ['c_embedder.linear_1', 'c_embedder.in_layer', 'time_text_embed.text_embedder.linear_1'],
    ['c_embedder.linear_2', 'c_embedder.out_layer', 'time_text_embed.text_embedder.linear_2'],
  ]),
  ...below('txt_in.individual_token_refiner.blocks.N.', 'context_embedder.token_refiner.refiner_blocks.N.', [
    ['norm1', 'norm1', 'norm1'],
    ['norm2', 'norm2', 'norm2'],
    ['self_attn_qkv', 'self_attn.qkv', fused('attn.to_q', 'attn.to_k', 'attn.to_v')],
    ['self_attn_proj', 'self_attn.proj', 'attn.to_out.0'],
    ['mlp.fc1', 'mlp.0', 'ff.net.0.proj'],
    ['mlp.fc2', 'mlp.2', 'ff.net.2'],
    ['adaLN_modulation.1', 'adaLN_modulation.1', 'norm_out.linear'],
  ]),
  ...below('double_blocks.N.', 'transformer_blocks.N.', [
    ...stream('img', fused('attn.to_q', 'attn.to_k', 'attn.to_v'), {
      mod: 'norm1.linear',
      q: 'attn.norm_q.weight',
      k: 'attn.norm_k.weight',
      out: 'attn.to_out.0',
      mlp: 'ff',
    }),
    ...stream('txt', fused('attn.add_q_proj', 'attn.add_k_proj', 'attn.add_v_proj'), {
      mod: 'norm1_context.linear',
      q: 'attn.norm_added_q.weight',
      k: 'attn.norm_added_k.weight',
      out: 'attn.to_add_out',
      mlp: 'ff_context',
    }),
  ]),
  ...below('single_blocks.N.', 'single_transformer_blocks.N.', [
    ['modulation.linear', 'modulation.lin', 'norm.linear'],
    ['linear1', 'linear1', [...fused('attn.to_q', 'attn.to_k', 'attn.to_v'), ...sharing('proj_mlp')]],
    ['q_norm.weight', 'norm.query_norm.scale', 'attn.norm_q.weight'],
    ['k_norm.weight', 'norm.key_norm.scale', 'attn.norm_k.weight'],
    ['linear2', 'linear2', 'proj_out'],
  ]),
]

const pair = (from: 0 | 1, to: 1 | 2) =>
  renameByRows(
    ROWS.map((row): Row => (row[3] === undefined ? [row[from], row[to]] : [row[from], row[to], row[3]])),
  )
const TENCENT = pair(0, 2)
const REPACKED = pair(1, 2)
// halves are swapped for diffusers alone
const BETWEEN = renameByRows(ROWS.map(([tencent, repacked]): Row => [tencent, repacked]))

function rename(base: Denoiser, to: Form): Rename {
  if (base.form === to) return (path) => [{ path }]
  if (base.form === 'diffusers') return (to === 'original' ? TENCENT : REPACKED)(base, 'original')
  if (to === 'diffusers') {
    return (base.form === 'original' ? TENCENT : REPACKED)({ ...base, form: 'original' }, to)
  }
  return to === 'repacked' ? BETWEEN(base, 'diffusers') : BETWEEN({ ...base, form: 'diffusers' }, 'original')
}

const TOKEN_REFINER = 'txt_in.individual_token_refiner.blocks.0.norm1.weight'
/** HunyuanImage and HunyuanVideo 1.5, which have other names besides. */
const LATER = ['byt5_in.fc1.weight', 'context_embedder_2.linear_1.weight']
const SOURCE =
  'diffusers: loaders/lora_conversion_utils.py, _convert_hunyuan_video_lora_to_diffusers @2026-08-23'

export const HUNYUAN_VIDEO: Family = {
  id: 'hunyuan-video',
  name: 'HunyuanVideo',
  component: 'transformer',
  marks: [
    { form: 'original', tensors: [TOKEN_REFINER, 'double_blocks.0.img_attn_qkv.weight'], unless: LATER },
    { form: 'repacked', tensors: [TOKEN_REFINER, 'double_blocks.0.img_attn.qkv.weight'], unless: LATER },
    {
      form: 'diffusers',
      tensors: [
        'context_embedder.token_refiner.refiner_blocks.0.norm1.weight',
        'transformer_blocks.0.attn.to_q.weight',
      ],
      unless: LATER,
    },
  ],
  encoders: [LLAMA, CLIP_L_OF_HUNYUAN],
  encoderPlaces: filePlaces(LLAMA, CLIP_L_OF_HUNYUAN),
  targets: {
    kohya: { form: 'repacked', ...KOHYA },
    // what both read: ComfyUI looks up its own names and these of its own after these changes (comfy/lora.py @2025-10-12), diffusers
    // knows such a file by img_attn_qkv, and fails at an alpha
    comfyui: {
      form: 'repacked',
      ...DIFFUSERS,
      rewrite: [
        ['_mod.lin.', '_mod.linear.'],
        ['_attn.qkv.', '_attn_qkv.'],
        ['_attn.proj.', '_attn_proj.'],
        ['mlp.0.', 'mlp.fc1.'],
        ['mlp.2.', 'mlp.fc2.'],
        ['.modulation.lin.', '.modulation.linear.'],
      ],
    },
    diffusers: { form: 'diffusers', ...DIFFUSERS },
  },
  portable: 'comfyui',
  loaders: ['ComfyUI', 'diffusers'],
  gaps: [
    {
      loader: 'diffusers',
      naming: 'kohya',
      effect: 'refused',
      reason: 'diffusers has no converter for kohya’s names of HunyuanVideo, and fails at the alphas',
      source: SOURCE,
    },
    {
      loader: 'diffusers',
      naming: 'comfyui',
      down: '.lora_down.weight',
      effect: 'refused',
      reason: 'diffusers cuts lora_down as if it were lora_B, and fails',
      source: SOURCE,
    },
    {
      loader: 'diffusers',
      naming: 'comfyui',
      paths: /^final_layer\.adaLN_modulation\.1$/,
      effect: 'wrong',
      reason: 'diffusers swaps the halves of lora_A with those of lora_B',
      source: SOURCE,
    },
    {
      loader: 'diffusers',
      naming: 'comfyui',
      paths: /^txt_in\..*\.self_attn_qkv$/,
      effect: 'wrong',
      reason: 'diffusers cuts lora_A in three with lora_B',
      source: SOURCE,
    },
    {
      loader: 'diffusers',
      naming: 'comfyui',
      paths: /\.(?:in|out)_layer$(?<!^vector_in\..*)/,
      effect: 'dropped',
      reason: 'diffusers looks for Tencent’s names, which ComfyUI doesn’t read of these',
      source: SOURCE,
    },
    {
      loader: 'ComfyUI',
      naming: 'diffusers',
      effect: 'dropped',
      reason: 'ComfyUI has no table of diffusers’ names of HunyuanVideo',
      source: 'ComfyUI: comfy/lora.py, model_lora_keys_unet @2025-10-12',
    },
  ],
  encodersInDiffusers: { kohya: 'refused', comfyui: 'dropped' },
  completeness: [],
  modules: [0, 1].flatMap((of) => pathsOfRows(ROWS.map((row): Row => [row[of] as string, row[2]]))),
  rename,
}
