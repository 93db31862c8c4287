import { sourced } from './common.ts'
import { familyRules } from './family-gaps.ts'
import type { LoaderFacts, LoaderRule } from './types.ts'

const fact = sourced('kohya', 'kohya-ss/sd-scripts: networks/lora.py', '2026-02-16')

const RULES: readonly LoaderRule[] = [
  {
    ...fact({
      rule: 'kohya-other-names',
      effect: 'passes over',
      text: 'kohya reads lora_unet and lora_te names, lora_down and lora_up alone',
    }),
    ofModule: ({ prefix, down, method }, { format }) => {
      if (format !== 'kohya' || !/^lora_(?:unet|te\d?)_$/.test(prefix))
        return 'it reads lora_unet and lora_te names alone'
      return method === 'lora' && !down.endsWith('.lora_down.weight')
        ? 'it reads lora_down and lora_up alone'
        : undefined
    },
  },
  {
    ...fact({
      rule: 'kohya-sd1-original-names',
      effect: 'passes over',
      text: 'kohya knows the modules of SD 1 and SD 2 by diffusers’ paths alone',
    }),
    ofModule: ({ path, prefix }, { family }) =>
      (family?.id === 'sd1' || family?.id === 'sd2') &&
      prefix === 'lora_unet_' &&
      /^(?:input_blocks|middle_block|output_blocks|time_embed|out)_/.test(path)
        ? 'it knows the modules of SD 1 and SD 2 by diffusers’ paths'
        : undefined,
  },
  {
    ...fact({
      rule: 'kohya-lycoris',
      effect: 'passes over',
      text: 'kohya reads LoHa and LoKr through lycoris.kohya alone',
    }),
    ofModule: ({ method }) =>
      method === 'lora' ? undefined : 'it reads LoHa and LoKr through lycoris.kohya alone',
  },
  {
    ...fact({
      rule: 'kohya-dora',
      effect: 'misreads',
      text: 'kohya passes over dora_scale, so that a DoRA acts as a LoRA',
    }),
    ofModule: ({ magnitude }) => (magnitude === undefined ? undefined : 'it passes over dora_scale'),
  },
  {
    ...fact({
      rule: 'kohya-whole-tensors',
      effect: 'passes over',
      text: 'kohya passes over whole tensors (.diff, .diff_b)',
    }),
    ofWhole: () => 'it passes over whole tensors',
  },
  {
    ...sourced(
      'kohya',
      'AUTOMATIC1111/stable-diffusion-webui: extensions-builtin/Lora/network.py',
      'mid-2026',
    )({
      rule: 'a1111-dora-output-axis',
      effect: 'warns',
      text: 'A1111 takes every dora_scale for one over the inputs, and makes nonsense of those over the outputs',
    }),
    ofModule: ({ magnitude, productShape: [out] }, { format }) =>
      format === 'kohya' && magnitude !== undefined && magnitude.shape[0] === out
        ? 'A1111, which takes its names, makes nonsense of a dora_scale over the outputs'
        : undefined,
  },
  ...familyRules('kohya'),
]

export const KOHYA: LoaderFacts = {
  rules: RULES,
  scale: {
    ...fact({
      rule: 'kohya-scale',
      effect: 'scales',
      text: 'kohya scales by .alpha over the rank, and takes none and 0 for the rank',
    }),
    scaleOf: ({ storedAlpha, dim }) => (storedAlpha ? storedAlpha / dim : 1),
  },
}
