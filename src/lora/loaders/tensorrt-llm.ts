import { loraScale } from '../read/peft-config.ts'
import { ofConfig, peftFolderRules, sourced } from './common.ts'
import type { LoaderFacts } from './types.ts'

const MID_2026 = 'mid-2026'
const SOURCE = 'NVIDIA/TensorRT-LLM: tensorrt_llm/lora_manager.py'
const fact = sourced('TensorRT-LLM', SOURCE, MID_2026)

export const TENSORRT_LLM: LoaderFacts = {
  rules: [
    ...peftFolderRules('TensorRT-LLM', 'tensorrt-llm', SOURCE, MID_2026),
    {
      ...fact({
        rule: 'tensorrt-llm-needs-fields',
        effect: 'refuses',
        text: 'TensorRT-LLM needs r and lora_alpha in adapter_config.json',
      }),
      ofAdapter: ofConfig(({ missing }) => {
        const needed = missing.filter((key) => key !== 'target_modules')
        return needed.length > 0 ? `it needs ${needed.join(', ')} in adapter_config.json` : undefined
      }),
    },
    {
      ...fact({
        rule: 'tensorrt-llm-stacked-experts',
        effect: 'refuses',
        text: 'TensorRT-LLM reads experts one by one',
      }),
      ofModule: ({ kind }) => (kind === 'experts' ? 'it reads experts one by one' : undefined),
    },
  ],
  scale: {
    ...fact({
      rule: 'tensorrt-llm-scale',
      effect: 'scales',
      text: 'TensorRT-LLM scales by lora_alpha over the rank of each stored A, or its root with rslora, and reads no patterns',
    }),
    scaleOf: ({ rank, scale }, { config }) =>
      config === undefined ? scale : loraScale(config.loraAlpha, rank, config.useRslora),
  },
}
