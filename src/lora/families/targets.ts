import type { Target } from './types.ts'

type Spelling = Pick<Target, 'down' | 'up' | 'alpha'>

/** sd-scripts: networks/lora.py @2026-02-16. Without an alpha every loader takes the rank, but two of diffusers' converters fail. */
export const KOHYA = {
  down: '.lora_down.weight',
  up: '.lora_up.weight',
  alpha: true,
} as const satisfies Spelling

/** peft: utils/save_and_load.py, as diffusers saves it; the scale is in the factors. */
export const DIFFUSERS = {
  down: '.lora_A.weight',
  up: '.lora_B.weight',
  alpha: false,
} as const satisfies Spelling
