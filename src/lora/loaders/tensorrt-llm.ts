import { loraScale, type PeftConfig } from '../read/peft-config.ts'
import { ofConfig, peftFolderRules, sourced } from './common.ts'
import type { LoaderFacts } from './types.ts'

const MID_2026 = 'mid-2026'
const SOURCE = 'NVIDIA/TensorRT-LLM: tensorrt_llm/lora_manager.py'
const fact = sourced('TensorRT-LLM', SOURCE, MID_2026)

/** Tensors that it knows beside factors (iterate_hf_lora, HfLoraLoader). */
const SAVED = ['lm_head', 'embed_tokens'] as const
const IN_OR_OUT = /lm_head|embed_tokens/
const isSaved = (name: string, config: PeftConfig | undefined) =>
  SAVED.some((saved) => name.includes(saved) && config?.modulesToSave.includes(saved))
const FACTOR = /\.lora_(?:[AB]\.weight|magnitude_vector)/

export const TENSORRT_LLM: LoaderFacts = {
  rules: [
    ...peftFolderRules('TensorRT-LLM', 'tensorrt-llm', SOURCE, MID_2026),
    {
      ...fact({
        rule: 'tensorrt-llm-needs-fields',
        effect: 'refuses',
        text: 'TensorRT-LLM needs r and lora_alpha in adapter_config.json, and neither null',
      }),
      ofAdapter: ofConfig(({ missing, nulls }) => {
        const needed = [...missing, ...nulls].filter((key) => key !== 'target_modules')
        return needed.length > 0 ? `it needs ${needed.join(', ')} in adapter_config.json` : undefined
      }),
    },
    {
      ...fact({
        rule: 'tensorrt-llm-other-tensors',
        effect: 'refuses',
        text: 'TensorRT-LLM stops at tensors that are neither factors nor magnitudes, but for those of lm_head and embed_tokens',
      }),
      ofAdapter: ({ strangers }) => {
        const found = strangers.find((name) => !IN_OR_OUT.test(name) && !FACTOR.test(name))
        return found === undefined ? undefined : `it stops at tensors that are no factors (${found})`
      },
      ofModule: ({ bias }) =>
        bias === undefined || IN_OR_OUT.test(bias) ? undefined : `it stops at ${bias}`,
    },
    {
      ...fact({
        rule: 'tensorrt-llm-head',
        effect: 'passes over',
        text: 'TensorRT-LLM passes over factors of lm_head and embed_tokens, and takes them whole where modules_to_save names them',
      }),
      ofModule: ({ down }) =>
        !/\.\d+\./.test(down) && IN_OR_OUT.test(down)
          ? 'it passes over factors of lm_head and embed_tokens'
          : undefined,
      ofWhole: ({ name }, { config }) =>
        IN_OR_OUT.test(name) && !isSaved(name, config)
          ? 'it takes lm_head and embed_tokens where modules_to_save names them alone'
          : undefined,
    },
    {
      ...fact({
        rule: 'tensorrt-llm-whole-of-first',
        effect: 'warns',
        text: 'TensorRT-LLM takes a whole lm_head or embed_tokens of the first adapter that it is started with',
      }),
      ofWhole: ({ name }, { config }) =>
        isSaved(name, config)
          ? 'it takes a whole lm_head or embed_tokens of the first of lora_dir alone: start it with this adapter'
          : undefined,
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
