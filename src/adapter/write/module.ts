import { counted, shapeText } from '../../formats/quote.ts'
import type { ModelTraits } from './model-traits.ts'
import type { ModuleKind, PeftModule } from './types.ts'

/** How a tensor is seen as matrices, as in `WeightMatrix`. */
export type TensorView = 'matrix' | 'conv' | 'expert'

/** What may be carried besides linear layers and convolutions. */
export interface ModuleOptions {
  readonly embeddings?: boolean
  /** Stacked experts as PEFT's `target_parameters`, which loaders read in different ways. */
  readonly experts?: boolean
}

/** The names that models give layers of transformers' Conv1D. */
const CONV1D_LAYERS: ReadonlySet<string> = new Set(['c_attn', 'q_attn', 'c_fc', 'c_proj'])

/** The last name of modules that look rows up. `embed_out` is the head of GPT-NeoX, a linear layer. */
const EMBEDDINGS = /^(embed_tokens|embed_in|wte|wpe|shared|relative_attention_bias|(.*_)?embed(ding)?s?)$/

/** Position tables of OPT and BART: looked up at an offset that PEFT's embedding doesn't know of. */
const OFFSET_EMBEDDINGS = 'embed_positions'

/** The parameters of an experts module in the order in which models register them, which is how PEFT nests them. */
const EXPERT_PARAMETERS = ['gate_up_proj', 'down_proj'] as const

/**
 * The module of a base tensor, or the reason why PEFT's LoRA can't adapt it. A convolution is taken to have one group:
 * shapes don't tell, and PEFT can't merge others.
 */
export function peftModule(
  tensor: string,
  view: TensorView,
  shape: readonly number[],
  traits: ModelTraits,
  options: ModuleOptions = {},
): PeftModule | { readonly reason: string } {
  if (shape.length < 2) return { reason: 'not a matrix (a norm, a bias or a scalar)' }
  if (shape.includes(0)) return { reason: `empty: its shape is ${shapeText(shape)}` }
  if (view === 'expert') return expertsModule(tensor, shape, traits, options)
  const match = /^(?:(.*)\.)?([^.]+)\.weight$/.exec(tensor)
  if (match === null) return { reason: 'not the weight of a module: its name does not end in .weight' }
  const leaf = match[2]
  const columns = shape.slice(1).reduce((product, n) => product * n, 1)
  const module = (kind: ModuleKind, isTransposed: boolean): PeftModule => ({
    tensor,
    path: pathOf(tensor.slice(0, -'.weight'.length), traits),
    kind,
    shape,
    rows: shape[0],
    columns,
    experts: 1,
    isTransposed,
  })
  if (view === 'conv') {
    return shape.length <= 5
      ? module('convolution', false)
      : { reason: `a tensor of ${counted(shape.length, 'dimension')}` }
  }
  if (shape.length > 2) return { reason: `a tensor of ${counted(shape.length, 'dimension')}` }
  if (leaf === OFFSET_EMBEDDINGS) return { reason: 'a table of positions, looked up at an offset' }
  if (EMBEDDINGS.test(leaf)) {
    return options.embeddings === true
      ? module('embedding', true)
      : { reason: 'an embedding (--embeddings carries it)' }
  }
  const isConv1d = traits.hasConv1d && CONV1D_LAYERS.has(leaf)
  return module(isConv1d ? 'conv1d' : 'linear', isConv1d)
}

/** Heads stand beside the body, whose prefix they don't have. */
const HEADS = /^(lm_head|embed_out|score|classifier|qa_outputs|multiple_choice_head)(\.|$)/

/** The path in the model of what the checkpoint calls `stored`. */
export const pathOf = (stored: string, { prefix }: ModelTraits) =>
  HEADS.test(stored) || stored.startsWith(prefix) ? stored : `${prefix}${stored}`

function expertsModule(
  tensor: string,
  shape: readonly number[],
  traits: ModelTraits,
  options: ModuleOptions,
): PeftModule | { readonly reason: string } {
  if (options.experts !== true) return { reason: '3-D experts' }
  const leaf = tensor.slice(tensor.lastIndexOf('.') + 1)
  if (shape.length !== 3 || !tensor.includes('.') || !isExpertParameter(leaf)) {
    return { reason: `3-D experts other than ${EXPERT_PARAMETERS.join(' and ')}` }
  }
  return {
    tensor,
    path: pathOf(tensor, traits),
    kind: 'experts',
    shape,
    rows: shape[1],
    columns: shape[2],
    experts: shape[0],
    isTransposed: traits.expertsInOut,
  }
}

const isExpertParameter = (name: string) => (EXPERT_PARAMETERS as readonly string[]).includes(name)

/** PEFT's in and out features. */
export const inFeatures = ({ isTransposed, rows, columns }: PeftModule) => (isTransposed ? rows : columns)
export const outFeatures = ({ isTransposed, rows, columns }: PeftModule) => (isTransposed ? columns : rows)

/** The shapes of a module's two tensors at rank r. */
export function factorShapes(module: PeftModule, r: number): { readonly A: number[]; readonly B: number[] } {
  const { kind, experts, shape } = module
  if (kind === 'convolution') {
    return { A: [r, ...shape.slice(1)], B: [shape[0], r, ...shape.slice(2).map(() => 1)] }
  }
  return { A: [experts * r, inFeatures(module)], B: [outFeatures(module), r * experts] }
}

/** The entries that a module's tensors gain with each rank. */
export const elementsPerRank = ({ rows, columns, experts }: PeftModule) => (rows + columns) * experts

/**
 * The names of each module's tensors. Two parameters of one experts module are wrapped one inside the other, the first
 * innermost.
 */
export function factorNames(
  modules: readonly PeftModule[],
): ReadonlyMap<PeftModule, { A: string; B: string }> {
  const paths = new Set(modules.map(({ path }) => path))
  return new Map(
    modules.map((module) => {
      const at = `base_model.model.${module.path}`
      if (module.kind === 'embedding') {
        return [module, { A: `${at}.lora_embedding_A`, B: `${at}.lora_embedding_B` }]
      }
      if (module.kind !== 'experts') return [module, { A: `${at}.lora_A.weight`, B: `${at}.lora_B.weight` }]
      const owner = at.slice(0, at.lastIndexOf('.'))
      const [first, second] = EXPERT_PARAMETERS
      const isInner =
        module.path.endsWith(`.${first}`) && paths.has(`${module.path.slice(0, -first.length)}${second}`)
      const wrapper = isInner ? `${owner}.base_layer` : owner
      return [module, { A: `${wrapper}.lora_A.weight`, B: `${wrapper}.lora_B.weight` }]
    }),
  )
}
