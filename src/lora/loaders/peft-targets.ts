import { targetedBy } from '../found-by-loaders.ts'
import type { PeftConfig } from '../read/peft-config.ts'
import { ofConfig, remembered, sourced } from './common.ts'
import type { JudgedAdapter, LoaderRule, ModuleView } from './types.ts'

/** Which modules PEFT makes layers for, by its config: those that have none are passed over. */

const DATE = '2026-08-21'
const ofModules = sourced('PEFT', 'huggingface/peft: src/peft/tuners/tuners_utils.py', DATE)
const ofConfigClass = sourced('PEFT', 'huggingface/peft: src/peft/tuners/lora/config.py', DATE)
const ofDefaults = sourced('PEFT', 'huggingface/peft: src/peft/utils/constants.py', DATE)

/** target_modules where a config says none, by the model's type (TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING). */
const DEFAULTS: readonly (readonly [targets: string | readonly string[], types: readonly string[]])[] = [
  [
    ['q_proj', 'v_proj'],
    [
      ...['bart', 'opt', 'gptj', 'gpt_neo', 'llama', 'llama4', 'mistral', 'mixtral', 'stablelm'],
      ...['gemma', 'gemma2', 'gemma3_text', 'qwen2', 'qwen3'],
    ],
  ],
  [
    ['q', 'v'],
    ['t5', 'mt5'],
  ],
  [['q', 'v', 'q_proj', 'v_proj'], ['blip-2']],
  [['c_attn'], ['gpt2', 'gpt_bigcode']],
  [['query_key_value'], ['bloom', 'gpt_neox', 'chatglm', 'RefinedWebModel', 'RefinedWeb', 'falcon']],
  [
    ['query', 'value'],
    ['bert', 'roberta', 'xlm-roberta', 'electra', 'layoutlm'],
  ],
  [['query_proj', 'value_proj'], ['deberta-v2']],
  [['in_proj'], ['deberta']],
  [['Wqkv'], ['mpt']],
  [['c_proj', 'c_attn'], ['btlm']],
  [['qkv_proj'], ['codegen']],
  [['q_proj', 'v_proj', 'fc1', 'fc2'], ['phi']],
  ['.*language_model\\..*\\.(q_proj|v_proj)', ['gemma4']],
  [['q_proj', 'k_proj', 'v_proj', 'o_proj'], ['nemotron_h']],
  [['key', 'value', 'receptance', 'output'], ['rwkv']],
  [['r_proj', 'k_proj', 'v_proj', 'o_proj', 'key', 'value'], ['rwkv7']],
]
const DEFAULTS_OF = new Map(DEFAULTS.flatMap(([targets, types]) => types.map((type) => [type, targets])))

const plainPath = ({ path }: ModuleView) => path.replace(/(?:\.base_layer)+$/, '')

/** target_modules is left to PEFT; stacked experts alone may do without. */
const leavesTargets = ({ targetModules, targetParameters }: PeftConfig) =>
  targetModules === undefined && targetParameters.length === 0

const defaultsOf = remembered(({ model, config }: JudgedAdapter) => {
  const isTold = config?.method === 'LORA' && leavesTargets(config) && model?.type !== undefined
  const targets = isTold ? DEFAULTS_OF.get(model.type!) : undefined
  return targets === undefined ? undefined : { targets, isAmong: targetedBy(targets) }
})

const exclusionOf = remembered(({ config }: JudgedAdapter) =>
  // a pattern that is not read leaves out nothing here
  targetedBy(config?.excludeModules ?? [], false),
)

/** The number of a path's layer, as PEFT finds it; undefined where there is none, null where the pattern is not read. */
function layerOf(path: string, patterns: readonly string[]): number | undefined | null {
  const starts = patterns.length === 0 ? ['[^.]*'] : patterns
  if (patterns.some((pattern) => !/^[\w.]+$/.test(pattern))) return null
  for (const start of starts) {
    const found = new RegExp(`^.*?\\.${start}\\.(\\d+)\\.`).exec(path)
    if (found !== null) return Number(found[1])
  }
  return undefined
}

export const PEFT_TARGET_RULES: readonly LoaderRule[] = [
  {
    ...ofConfigClass({
      rule: 'peft-layers-config',
      effect: 'refuses',
      text: 'PEFT refuses layers_to_transform beside a text as target_modules, and layers_pattern without layers_to_transform',
    }),
    ofAdapter: ofConfig(({ method, targetModules, layersToTransform, layersPattern }) => {
      if (method !== 'LORA') return undefined
      if (layersToTransform === undefined)
        return layersPattern.length > 0 ? 'it refuses layers_pattern without layers_to_transform' : undefined
      return typeof targetModules === 'string'
        ? 'it refuses layers_to_transform where target_modules is a text'
        : undefined
    }),
  },
  {
    ...ofModules({
      rule: 'peft-default-targets-unknown',
      effect: 'refuses',
      text: 'PEFT refuses a config without target_modules for types of models that it has no defaults for',
    }),
    ofAdapter: ofConfig((config, { model }) =>
      config.method === 'LORA' &&
      leavesTargets(config) &&
      model?.type !== undefined &&
      !DEFAULTS_OF.has(model.type)
        ? `it needs target_modules: it has no defaults for models of the type ${model.type}`
        : undefined,
    ),
  },
  {
    ...ofDefaults({
      rule: 'peft-default-targets-unsure',
      effect: 'warns',
      text: 'PEFT takes the defaults of the model’s type where target_modules is not set',
    }),
    ofAdapter: ofConfig((config, { model }) =>
      leavesTargets(config) && (model?.type === undefined || config.method !== 'LORA')
        ? 'target_modules is not set: it takes the defaults of the model’s type, often q_proj and v_proj alone'
        : undefined,
    ),
  },
  {
    ...ofDefaults({
      rule: 'peft-default-targets',
      effect: 'passes over',
      text: 'PEFT passes over modules that are not among the defaults of the model’s type, where target_modules is not set',
    }),
    ofModule: (module, adapter) => {
      const defaults = defaultsOf(adapter)
      if (defaults === undefined || module.kind === 'experts') return undefined
      const named = typeof defaults.targets === 'string' ? defaults.targets : defaults.targets.join(', ')
      return defaults.isAmong(plainPath(module))
        ? undefined
        : `it finds nothing of it: target_modules is not set, and of ${adapter.model!.type} it takes ${named}`
    },
  },
  {
    ...ofModules({
      rule: 'peft-excluded',
      effect: 'passes over',
      text: 'PEFT passes over modules that exclude_modules names',
    }),
    ofModule: (module, adapter) =>
      module.kind !== 'experts' && exclusionOf(adapter)(plainPath(module))
        ? 'it finds nothing of it: exclude_modules names it'
        : undefined,
  },
  {
    ...ofModules({
      rule: 'peft-other-layers',
      effect: 'passes over',
      text: 'PEFT passes over modules outside the layers that layers_to_transform names',
    }),
    ofModule: (module, { config }) => {
      const layers = config?.layersToTransform ?? []
      const targets = config?.targetModules
      const path = plainPath(module)
      if (config === undefined || layers.length === 0 || !Array.isArray(targets) || targets.includes(path))
        return undefined
      const layer = layerOf(path, config.layersPattern)
      return layer === null || (layer !== undefined && layers.includes(layer))
        ? undefined
        : 'it finds nothing of it: it is in none of the layers of layers_to_transform'
    },
  },
  {
    ...ofModules({
      rule: 'peft-all-linear-head',
      effect: 'passes over',
      text: 'PEFT leaves out the head where target_modules is "all-linear"',
    }),
    ofModule: (module, { config, isLanguageModel }) =>
      config?.targetModules === 'all-linear' && isLanguageModel && HEAD.test(plainPath(module))
        ? 'it finds nothing of it: "all-linear" leaves out the head'
        : undefined,
  },
]

/** What get_output_embeddings gives, by transformers' names of it. */
const HEAD = /^(?:lm_head|embed_out)$/
