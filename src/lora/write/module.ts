import { plainName } from '../../checkpoint/correspondence.ts'
import { counted, shapeText } from '../../text/quote.ts'
import { takingOf } from '../peft-modules.ts'
import type { ModelTraits } from './model-traits.ts'
import type { PeftModule } from './types.ts'

/** How a tensor is seen as matrices, as in `WeightMatrix`. */
export type TensorView = 'matrix' | 'conv' | 'expert'

/** What may be carried besides linear layers and convolutions. */
export interface ModuleOptions {
  readonly embeddings?: boolean
  /** Stacked experts as PEFT's `target_parameters`, which loaders read in different ways. */
  readonly experts?: boolean
}

/** The parameters of an experts module in the order in which models register them, which is how PEFT nests them. */
const EXPERT_PARAMETERS = ['gate_up_proj', 'down_proj'] as const

/** Why PEFT's LoRA can't adapt a tensor. */
export interface NoModule {
  readonly reason: string
  /** It is one of stacked experts, which are adapted only where that is asked for. */
  readonly isOfExperts?: true
}

/** The module of a base tensor, or the reason why PEFT's LoRA can't adapt it. */
export function peftModule(
  tensor: string,
  view: TensorView,
  shape: readonly number[],
  traits: ModelTraits,
  options: ModuleOptions = {},
): PeftModule | NoModule {
  if (shape.length < 2) return { reason: 'not a matrix (a norm, a bias or a scalar)' }
  if (shape.includes(0)) return { reason: `empty: its shape is ${shapeText(shape)}` }
  if (view === 'expert') return expertsModule(tensor, shape, traits, options)
  if (!/[^.]\.weight$/.test(tensor))
    return { reason: 'not the weight of a module: its name does not end in .weight' }
  if (shape.length > 5 || (view !== 'conv' && shape.length > 2))
    return { reason: `a tensor of ${counted(shape.length, 'dimension')}` }
  const stored = tensor.slice(0, -'.weight'.length)
  const taking = takingOf({ path: stored, shape, isKernel: view === 'conv', traits })
  if ('reason' in taking) return { reason: taking.reason }
  if (taking.takes === 'embedding' && options.embeddings !== true)
    return { reason: 'an embedding (--embeddings carries it)' }
  return {
    tensor,
    path: pathOf(stored, traits),
    kind: taking.takes,
    shape,
    rows: shape[0],
    columns: shape.slice(1).reduce((product, n) => product * n, 1),
    experts: 1,
    isTransposed: taking.takes === 'embedding' || taking.takes === 'conv1d',
  }
}

/** Heads stand beside the body, whose prefix they don't have. */
const HEADS = /^(lm_head|embed_out|score|classifier|qa_outputs|multiple_choice_head)(\.|$)/

/** The path in the model of what the checkpoint calls `stored`: a model is loaded without what wrapped it. */
export function pathOf(stored: string, { prefix }: ModelTraits): string {
  // plainName leaves a last part alone, which is a parameter's
  const plain = plainName(`${stored}.`).slice(0, -1)
  return HEADS.test(plain) || plain.startsWith(prefix) ? plain : `${prefix}${plain}`
}

function expertsModule(
  tensor: string,
  shape: readonly number[],
  traits: ModelTraits,
  options: ModuleOptions,
): PeftModule | NoModule {
  if (options.experts !== true) return { reason: '3-D experts', isOfExperts: true }
  const leaf = tensor.slice(tensor.lastIndexOf('.') + 1)
  if (shape.length !== 3 || !tensor.includes('.') || !isExpertParameter(leaf)) {
    return { reason: `3-D experts other than ${EXPERT_PARAMETERS.join(' and ')}`, isOfExperts: true }
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
