import { badUsage } from '../errors.ts'
import type { AdapterFormat } from '../lora/model.ts'
import type { AdapterLayout } from '../lora/write/peft.ts'

/** The formats that adapters are written in. */
export const FORMATS = [
  'peft',
  'comfyui',
  'kohya',
  'diffusers',
  'mlx',
  'gguf',
] as const satisfies AdapterFormat[]

/** Throws `bad-usage` for a layout that the format hasn't: mlx-lm makes all layers of one rank (mlx_lm/tuner/utils.py, linear_to_lora_layers). */
export function assertLayoutOf(format: AdapterFormat | undefined, layout: AdapterLayout | undefined): void {
  if (format === 'mlx' && layout === 'pattern')
    throw badUsage('--layout pattern: an adapter of MLX has one rank in all layers; leave --layout out')
}
