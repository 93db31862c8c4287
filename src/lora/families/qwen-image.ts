import { filePlaces, QWEN25 } from './encoders.ts'
import { DIFFUSERS, KOHYA } from './targets.ts'
import type { Family } from './types.ts'

const stream = (name: string) =>
  [`${name}_mod.1`, `${name}_mlp.net.0.proj`, `${name}_mlp.net.2`].map(
    (path) => `transformer_blocks.N.${path}`,
  )

/** diffusers: models/transformers/transformer_qwenimage.py @2026-08-23. */
const MODULES = [
  ...['img_in', 'txt_in', 'txt_norm', 'norm_out.linear', 'proj_out'],
  ...[1, 2].map((n) => `time_text_embed.timestep_embedder.linear_${n}`),
  ...stream('img'),
  ...stream('txt'),
  ...['to_q', 'to_k', 'to_v', 'add_q_proj', 'add_k_proj', 'add_v_proj', 'to_out.0', 'to_add_out'].map(
    (path) => `transformer_blocks.N.attn.${path}`,
  ),
  ...['norm_q', 'norm_k', 'norm_added_q', 'norm_added_k'].map((path) => `transformer_blocks.N.attn.${path}`),
]

/** Its authors wrote it for diffusers: both forms have the same names. */
export const QWEN_IMAGE: Family = {
  id: 'qwen-image',
  name: 'Qwen-Image',
  component: 'transformer',
  marks: [{ form: 'original', tensors: ['txt_norm.weight', 'transformer_blocks.0.img_mod.1.weight'] }],
  encoders: [QWEN25],
  encoderPlaces: filePlaces(QWEN25),
  // without an alpha beside lora_down diffusers fails, beside lora_A it passes over one: _convert_non_diffusers_qwen_lora_to_diffusers
  targets: {
    kohya: { form: 'original', ...KOHYA },
    comfyui: { form: 'original', ...KOHYA },
    diffusers: { form: 'original', ...DIFFUSERS },
  },
  portable: 'kohya',
  loaders: ['ComfyUI', 'diffusers'],
  gaps: [],
  encodersInDiffusers: { kohya: 'dropped', comfyui: 'dropped' },
  completeness: [],
  modules: MODULES,
  rename: () => (path) => [{ path }],
}
