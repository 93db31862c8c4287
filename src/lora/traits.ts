import { plainName } from '../checkpoint/correspondence.ts'
import type { JsonObject } from './model.ts'

/** What a model's config.json and its tensors' names say of how modules are called and stored. */
export interface ModelTraits {
  /** What the module paths have before the stored names: '' or, as of GPT-2's own checkpoint, 'transformer.'. */
  readonly prefix: string
  /**
   * Whether the module at this path, as stored, is transformers' Conv1D, whose weight is stored [in, out]; undefined where
   * neither config.json nor the tensors tell.
   */
  readonly isConv1d: (path: string) => boolean | undefined
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

/**
 * The model types built of transformers' `pytorch_utils.Conv1D` (huggingface/transformers: src/transformers/models/…, whatever
 * imports it), their parts' types among them.
 */
const CONV1D_TYPES: ReadonlySet<string> = new Set([
  'gpt2',
  'openai-gpt',
  'imagegpt',
  'decision_transformer',
  'clvp',
  'clvp_decoder',
])

/** Model types with those layers' names that are nn.Linear: modeling_gpt_bigcode.py, and Qwen's own modeling_qwen.py. */
const LINEAR_TYPES: ReadonlySet<string> = new Set(['gpt_bigcode', 'qwen'])

/** The names that those models give their Conv1D layers; all else in them is nn.Linear. */
const CONV1D_LAYERS = /(?:^|\.)(?:c_attn|q_attn|c_fc|c_proj)$/

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
    isConv1d: conv1dTest(config, tensors),
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

/**
 * Tells a Conv1D by the layer's own name and the type of the model's part that its path lies in: `decoder.…` of an encoder and a
 * decoder has the type of config.json's `decoder`; of any part where none has the path's first name.
 */
function conv1dTest(
  config: JsonObject | undefined,
  tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>,
): ModelTraits['isConv1d'] {
  const wide = partsWithWideAttention(tensors)
  return (path) => {
    const first = firstName(path)
    const part = config?.[first] as JsonObject | undefined
    const isOfPart = typeof part?.model_type === 'string'
    const types = modelTypes(isOfPart ? part : config)
    const hasConv1d =
      types.some((type) => CONV1D_TYPES.has(type)) || (isOfPart ? wide.has(first) : wide.size > 0)
    if (!CONV1D_LAYERS.test(path)) return hasConv1d || types.length > 0 ? false : undefined
    if (hasConv1d) return true
    return types.some((type) => LINEAR_TYPES.has(type)) ? false : undefined
  }
}

const firstName = (path: string) => path.slice(0, Math.max(0, path.indexOf('.')))

/** The first names of fused q/k/v weights of n × 3n, which can only be [in, out]. */
function partsWithWideAttention(
  tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>,
): ReadonlySet<string> {
  const parts = new Set<string>()
  for (const [name, { shape }] of tensors) {
    const isWide = shape.length === 2 && shape[1] === 3 * shape[0]
    if (isWide && /(^|\.)c_attn\.weight$/.test(name)) parts.add(firstName(name))
  }
  return parts
}

/** The paths and all the modules that hold them. */
export function withContainers(paths: Iterable<string>): Set<string> {
  const all = new Set<string>()
  for (const path of paths) {
    for (let at = path.length; at > 0; at = path.lastIndexOf('.', at - 1)) {
      const container = path.slice(0, at)
      if (all.has(container)) break
      all.add(container)
    }
  }
  return all
}

/** The path of what holds the module, or the module of a parameter; '' where nothing does. */
export const ownerOfPath = (path: string) => path.slice(0, Math.max(0, path.lastIndexOf('.')))

/** The last name of a path. */
export const leafOfPath = (path: string) => path.slice(path.lastIndexOf('.') + 1)

/** Heads stand beside the body, whose prefix they don't have. */
export const HEADS = /^(lm_head|embed_out|score|classifier|qa_outputs|multiple_choice_head)(\.|$)/

/** The path in the model of what the checkpoint calls `stored`: a model is loaded without what wrapped it. */
export function pathOf(stored: string, { prefix }: ModelTraits): string {
  // plainName leaves a last part alone, which is a parameter's
  const plain = plainName(`${stored}.`).slice(0, -1)
  return HEADS.test(plain) || plain.startsWith(prefix) ? plain : `${prefix}${plain}`
}
