import { sourced } from './common.ts'
import type { LoaderFacts } from './types.ts'

const fact = sourced('MLX', 'ml-explore/mlx-lm: mlx_lm/tuner/utils.py, load_adapters', 'mid-2026')

export const MLX: LoaderFacts = {
  rules: [
    {
      ...fact({
        rule: 'mlx-other-format',
        effect: 'refuses',
        text: 'MLX reads adapters.safetensors with a config of its own, and no other format',
      }),
      ofAdapter: ({ format }) =>
        format === 'mlx' ? undefined : 'it reads adapters.safetensors with its own config',
      isFinal: true,
    },
  ],
  scale: {
    ...sourced(
      'MLX',
      'ml-explore/mlx-lm: mlx_lm/tuner/lora.py',
      'mid-2026',
    )({
      rule: 'mlx-scale',
      effect: 'scales',
      text: 'MLX scales all modules by the scale of its config',
    }),
    scaleOf: ({ scale }) => scale,
  },
}
