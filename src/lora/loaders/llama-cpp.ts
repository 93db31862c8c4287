import { quoted } from '../../text/quote.ts'
import { loraScale } from '../read/peft-config.ts'
import { ofConfig, peftFolderRules, sourced } from './common.ts'
import { ggufArchitectureOf, LLAMA_CPP_NAME_RULES } from './llama-cpp-names.ts'
import type { LoaderFacts, LoaderRule } from './types.ts'

const DATE = '2026-09-28'
const CONVERTER = 'ggml-org/llama.cpp: convert_lora_to_gguf.py'
const LOADER = 'ggml-org/llama.cpp: src/llama-adapter.cpp'
const ofConverter = sourced('llama.cpp', CONVERTER, DATE)
const ofLoader = sourced('llama.cpp', LOADER, DATE)

/** Names that the converter keeps and the loader passes over. */
const NORM = /_layernorm|\.norm|_norm\.weight$/
/** Layers of GPT-2 that its checkpoints store [in, out]. */
const CONV1D_PATH = /^(?:transformer\.)?h\.\d+\.(?:attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)$/

/** What a GGUF file has to say of itself. */
const KEYS = [
  ['general.type', 'adapter'],
  ['adapter.type', 'lora'],
] as const

const RULES: readonly LoaderRule[] = [
  ...peftFolderRules('llama.cpp', 'llama-cpp', CONVERTER, DATE),
  {
    ...ofLoader({
      rule: 'llama-cpp-keys',
      effect: 'refuses',
      text: 'llama.cpp refuses a file that does not say general.type "adapter" and adapter.type "lora"',
    }),
    ofAdapter: ({ format, metadata }) => {
      if (format !== 'gguf' || metadata === undefined) return undefined
      const missing = KEYS.find(([key, value]) => metadata.get(key) !== value)
      return missing && `it needs ${missing[0]} ${quoted(missing[1])}`
    },
  },
  {
    ...ofLoader({
      rule: 'llama-cpp-architecture',
      effect: 'refuses',
      text: 'llama.cpp refuses a file whose general.architecture is not its base’s',
    }),
    ofAdapter: ({ format, metadata, model }) => {
      if (format !== 'gguf' || metadata === undefined) return undefined
      const found = metadata.get('general.architecture')
      if (found === undefined) return 'it needs general.architecture'
      const expected = model?.gguf ?? ggufArchitectureOf(model)?.name
      return expected === undefined || found === expected
        ? undefined
        : `general.architecture is ${quoted(found)}, and the base is ${quoted(expected)}`
    },
  },
  {
    ...ofConverter({
      rule: 'llama-cpp-needs-alpha',
      effect: 'refuses',
      text: 'llama.cpp’s converter needs lora_alpha in adapter_config.json',
    }),
    ofAdapter: ofConfig(({ missing, nulls }) =>
      missing.includes('lora_alpha') || nulls.includes('lora_alpha')
        ? 'it needs lora_alpha in adapter_config.json'
        : undefined,
    ),
  },
  {
    ...ofConverter({
      rule: 'llama-cpp-other-tensors',
      effect: 'refuses',
      text: 'llama.cpp stops at tensors that are neither factors nor norms',
    }),
    ofAdapter: ({ strangers }) => {
      const whole = strangers.find((name) => !NORM.test(name))
      return whole === undefined ? undefined : `it stops at tensors that are no factors (${whole})`
    },
  },
  {
    ...ofLoader({
      rule: 'llama-cpp-norms',
      effect: 'passes over',
      text: 'llama.cpp passes over norms of an adapter',
    }),
    ofWhole: ({ name }) => (NORM.test(name) ? 'it passes over norms' : undefined),
  },
  {
    ...ofConverter({
      rule: 'llama-cpp-module-tensors',
      effect: 'refuses',
      text: 'llama.cpp’s converter stops at lora_bias and at DoRA’s magnitudes',
    }),
    ofModule: ({ bias, magnitude }) => {
      const extra = bias ?? magnitude?.name
      return extra === undefined ? undefined : `it stops at ${extra}`
    },
  },
  {
    ...ofConverter({
      rule: 'llama-cpp-names',
      effect: 'refuses',
      text: 'llama.cpp’s converter knows PEFT’s names of factors alone',
    }),
    ofModule: ({ down }, { format }) =>
      format === 'peft' && !/\.lora_(?:A\.weight|embedding_A)$/.test(down)
        ? `it doesn't know the name ${down}`
        : undefined,
  },
  {
    ...ofConverter({
      rule: 'llama-cpp-convolutions',
      effect: 'refuses',
      text: 'llama.cpp reads no convolutions',
    }),
    ofModule: ({ kind }) => (kind === 'convolution' ? 'it reads no convolutions' : undefined),
  },
  {
    ...ofConverter({
      rule: 'llama-cpp-stacked-experts',
      effect: 'refuses',
      text: 'llama.cpp’s converter reads no factors of stacked experts',
    }),
    ofModule: ({ kind }) => (kind === 'experts' ? 'it reads no stacked experts' : undefined),
  },
  ...LLAMA_CPP_NAME_RULES,
  {
    ...ofConverter({
      rule: 'llama-cpp-conv1d',
      effect: 'misreads',
      text: 'llama.cpp’s converter turns the factors of GPT-2’s layers about as it does its weights, though PEFT’s are not',
    }),
    ofModule: ({ path }, { format }) =>
      format === 'peft' && CONV1D_PATH.test(path)
        ? 'its converter turns the factors of GPT-2’s layers about, which PEFT has the right way round'
        : undefined,
  },
  {
    ...sourced(
      'llama.cpp',
      'ggml-org/llama.cpp: src/llama-adapter.cpp, ggml_can_mul_mat',
      DATE,
    )({
      rule: 'llama-cpp-tied-embedding',
      effect: 'refuses',
      text: 'llama.cpp ends the process at an adapted embedding that is the head too, and refuses a head that the base lacks',
    }),
    ofModule: ({ kind, path }, { model }) =>
      model?.isTied === true && (kind === 'embedding' || /(?:^|\.)(?:lm_head|output)$/.test(path))
        ? 'it ends the process at an adapter of an embedding that is the head too'
        : undefined,
  },
]

export const LLAMA_CPP: LoaderFacts = {
  rules: RULES,
  scale: {
    ...sourced(
      'llama.cpp',
      'ggml-org/llama.cpp: src/llama-adapter.h, get_scale',
      DATE,
    )({
      rule: 'llama-cpp-scale',
      effect: 'scales',
      text: 'llama.cpp scales by lora_alpha over the rank of each tensor, by 1 where alpha is 0, and reads neither patterns nor use_rslora',
    }),
    scaleOf: ({ rank, scale }, { config }) => {
      if (config === undefined) return scale
      return config.loraAlpha === 0 ? 1 : loraScale(config.loraAlpha, rank, false)
    },
  },
}
