import { filePlaces, QWEN25 } from './encoders.ts'
import { DIFFUSERS, KOHYA } from './targets.ts'
import type { Family } from './types.ts'

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
  rename: () => (path) => [{ path }],
}
