import type { AdapterFormat } from '../lora/model.ts'

/** The formats that adapters are written in. */
export const FORMATS = [
  'peft',
  'comfyui',
  'kohya',
  'diffusers',
  'mlx',
  'gguf',
] as const satisfies AdapterFormat[]
