import { type Layout, layoutAt } from './layout.ts'
import { DIFFUSERS, KOHYA } from './targets.ts'
import type { Family, Tensors } from './types.ts'

/** Any other diffusion model: ComfyUI takes each under its own names (comfy/lora.py, model_lora_keys_unet @2025-10-12). */
const OTHER: Family = {
  id: 'other',
  name: 'a diffusion model of another family',
  component: 'transformer',
  marks: [],
  encoders: [],
  encoderPlaces: [],
  targets: {
    kohya: { form: 'original', ...KOHYA },
    comfyui: { form: 'original', ...KOHYA },
    diffusers: { form: 'original', ...DIFFUSERS },
  },
  portable: 'comfyui',
  loaders: ['ComfyUI'],
  gaps: [],
  encodersInDiffusers: { kohya: 'dropped', comfyui: 'dropped' },
  completeness: [],
  modules: [],
  rename: () => (path) => [{ path }],
}

/** What files put before a denoiser's names, by ComfyUI's count of them, and as files of the denoiser alone have it. */
export const PREFIXES = [
  'model.diffusion_model.',
  'model.model.',
  'net.',
  'diffusion_model.',
  'transformer.',
  'unet.',
]

/** As many names say that their prefix is no accident (comfy/model_detection.py, unet_prefix_from_state_dict @2025-10-12). */
const FEWEST = 6

/** The layout of a diffusion model that is of no known family, as long as all that it is called is its own. */
export function otherLayout(tensors: Tensors): Layout {
  const names = [...tensors.keys()]
  const count = (prefix: string) => names.filter((name) => name.startsWith(prefix)).length
  const prefix = PREFIXES.find((one) => count(one) >= FEWEST) ?? ''
  const component = prefix === 'unet.' ? 'unet' : 'transformer'
  return layoutAt({ ...OTHER, component }, 'original', prefix, tensors)
}
