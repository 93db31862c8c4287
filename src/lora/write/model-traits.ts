import { withContainers } from './saved-modules.ts'
import type { JsonObject } from './types.ts'

/** What a model's config.json and its tensors' names say of how modules are called and stored. */
export interface ModelTraits {
  /** What the module paths have before the stored names: '' or, as of GPT-2's own checkpoint, 'transformer.'. */
  readonly prefix: string
  /** The layers of transformers' Conv1D, stored [in, out], are there. */
  readonly hasConv1d: boolean
  /** Stacked experts are stored [experts, in, out] instead of [experts, out, in]. */
  readonly expertsInOut: boolean
  readonly vocabulary: number | undefined
  /** config.json's model_type and those of its parts. */
  readonly types: readonly string[]
  /** Whether a tensor of this name is stored. */
  readonly has: (tensor: string) => boolean
  /** Whether a tensor is stored at, or under, this path. */
  readonly hasUnder: (path: string) => boolean
}

/** The model types built of transformers' `pytorch_utils.Conv1D`. gpt_bigcode has its names but nn.Linear. */
const CONV1D_MODELS: ReadonlySet<string> = new Set([
  'gpt2',
  'openai-gpt',
  'imagegpt',
  'decision_transformer',
  'clvp',
])

/** The model types whose experts tell PEFT `is_transposed`. */
const EXPERTS_IN_OUT_MODELS: ReadonlySet<string> = new Set(['gpt_oss'])

/** A model with a head keeps its body under a name that checkpoints of the bare body leave out. */
const BODIES = [
  { stored: /^h\.\d+\./, prefix: 'transformer.' },
  { stored: /^layers\.\d+\./, prefix: 'model.' },
] as const
const HEADED = /(LMHead|DoubleHeads|WithLMHead)Model$|For[A-Z]\w*$/

/** The traits of a model by its config.json (if there is one) and the shapes of its tensors. */
export function modelTraits(
  config: JsonObject | undefined,
  tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>,
): ModelTraits {
  const types = modelTypes(config)
  const body = BODIES.find(({ stored }) => [...tensors.keys()].some((name) => stored.test(name)))
  const isHeaded = HEADED.test(architectureOf(config) ?? '')
  const vocabulary = config?.vocab_size
  return {
    prefix: isHeaded && body !== undefined ? body.prefix : '',
    hasConv1d: types.some((type) => CONV1D_MODELS.has(type)) || hasWideAttention(tensors),
    expertsInOut: types.some((type) => EXPERTS_IN_OUT_MODELS.has(type)),
    vocabulary: typeof vocabulary === 'number' ? vocabulary : undefined,
    types,
    has: (tensor) => tensors.has(tensor),
    hasUnder: underTest(tensors.keys()),
  }
}

/** The paths are collected when they are first asked for. */
function underTest(names: Iterable<string>): (path: string) => boolean {
  let paths: ReadonlySet<string> | undefined
  return (path) => {
    paths ??= withContainers(names)
    return paths.has(path)
  }
}

/** config.json's class of model, as `LlamaForCausalLM`. */
export function architectureOf(config: JsonObject | undefined): string | undefined {
  const list = config?.architectures
  return Array.isArray(list) && typeof list[0] === 'string' ? list[0] : undefined
}

/** The model's own type and those of its parts (`text_config`, `decoder` …). */
function modelTypes(config: JsonObject | undefined): string[] {
  const parts = Object.values(config ?? {}).filter((value) => typeof value === 'object' && value !== null)
  return [config, ...parts].flatMap((part) => {
    const type = (part as JsonObject | undefined)?.model_type
    return typeof type === 'string' ? [type] : []
  })
}

/** A fused q/k/v weight of n × 3n can only be [in, out]. */
function hasWideAttention(tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>): boolean {
  for (const [name, { shape }] of tensors) {
    if (/(^|\.)c_attn\.weight$/.test(name) && shape.length === 2 && shape[1] === 3 * shape[0]) return true
  }
  return false
}
