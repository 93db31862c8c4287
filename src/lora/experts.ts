import type { Checkpoint, StoredTensor } from '../checkpoint/types.ts'
import { addTo } from '../text/compare.ts'
import { quoted, shapeText } from '../text/quote.ts'
import { rowsOf } from './fit.ts'
import type { MatchedModule, UnmatchedModule } from './match.ts'
import { type AdapterModule, labelInFile, type RowRun } from './model.ts'
import type { PeftConfig } from './read/peft-config.ts'
import { takesSecondAsInput } from './stack-order.ts'
import { leafOfPath, type ModelTraits } from './traits.ts'

/**
 * Experts in two forms: a matrix for each projection of each expert, as most checkpoints have them and vLLM wants their adapters, or all
 * of them stacked, gate and up one upon another (`gate_up_proj`), as transformers has them at run time and PEFT's `target_parameters` adapts
 * them. Mixtral and Phi-MoE call the projections w1, w3 and w2.
 */
export type Role = 'gate' | 'up' | 'down'

/** The path of a projection of one expert: its owner, the expert's number, and the projection's name. */
export const EXPERT = /^(.*\.experts)\.(\d+)\.(gate_proj|up_proj|down_proj|w[123])$/
export const ROLES: Readonly<Record<string, Role>> = {
  ...{ gate_proj: 'gate', up_proj: 'up', down_proj: 'down' },
  ...{ w1: 'gate', w3: 'up', w2: 'down' },
}
const STACKS: Readonly<Record<Role, string>> = { gate: 'gate_up_proj', up: 'gate_up_proj', down: 'down_proj' }

/** Model types whose stacks have gate's and up's rows in turn (transformers: modeling_gpt_oss.py, GptOssExperts.forward). */
const INTERLEAVED_TYPES = ['gpt_oss']

const isInterleaved = ({ types }: ModelTraits) => types.some((type) => INTERLEAVED_TYPES.includes(type))

/** Which rows of a stack's matrix are those of a projection [rows, ·]: none but its own. */
function runsIn(role: Role, rows: number, traits: ModelTraits): readonly RowRun[] | undefined {
  if (role === 'down') return undefined
  const second = role === 'up' ? 1 : 0
  if (!isInterleaved(traits)) return [{ module: 0, weight: second * rows, count: rows }]
  return Array.from({ length: rows }, (_, i) => ({ module: i, weight: 2 * i + second, count: 1 }))
}

/** A module that a stack of experts was taken apart into. */
export const isPartOfStack = ({ product }: AdapterModule) =>
  product.kind === 'lora' && product.every !== undefined

export const isOfOneExpert = ({ path }: AdapterModule) => EXPERT.test(path)

/**
 * The module that experts are below, whatever stands before it. transformers 5 has Mixtral's under `mlp`, as it has other models', and stores them
 * under `block_sparse_moe` (conversion_mapping.py, mixtral@2026).
 */
export const ownerKey = (path: string) =>
  path.replace(/^model\./, '').replace(/(^|\.)block_sparse_moe(?=\.experts$)/, '$1mlp')

/** An adapter's path of an experts module, with the block's name as a tensor of the base below that module has it. */
function ownerAs(owner: string, tensor: string): string {
  const block = /(?:^|\.)(mlp|block_sparse_moe)\.experts\./.exec(tensor)?.[1]
  return block === undefined
    ? owner
    : owner.replace(/(^|\.)(?:mlp|block_sparse_moe)(?=\.experts$)/, `$1${block}`)
}

interface Piece {
  readonly module: AdapterModule
  readonly role: Role
  readonly expert: number
}

/**
 * Modules of single experts as one of each stack of the base that they are parts of. What has no such stack, is of another shape, or is
 * there twice is listed with the reason.
 */
export function inStacks(
  modules: readonly AdapterModule[],
  stacks: ReadonlyMap<string, readonly StoredTensor[]>,
  traits: ModelTraits,
): { readonly matched: MatchedModule[]; readonly unmatched: UnmatchedModule[] } {
  const unmatched: UnmatchedModule[] = []
  const byStack = new Map<StoredTensor, Piece[]>()
  for (const module of modules) {
    const [, owner, expert, leaf] = EXPERT.exec(module.path)!
    const role = ROLES[leaf]
    const stack = stacks.get(ownerKey(owner))?.find(({ name }) => leafOfPath(name) === STACKS[role])
    const reason = stack === undefined ? NO_TENSOR : pieceProblem(module, role, Number(expert), stack)
    if (stack === undefined || reason !== undefined) unmatched.push({ module, reason: reason ?? NO_TENSOR })
    else addTo(byStack, stack, { module, role, expert: Number(expert) })
  }
  const matched = [...byStack].flatMap(([stack, pieces]) => {
    const isTransposed = lies(pieces, stack, traits)
    if (isTransposed !== undefined) return [stackOf(stack, pieces, isTransposed, traits)]
    const reason = `its shape is none of a part of ${quoted(stack.name)} ${shapeText(stack.shape)}`
    unmatched.push(...pieces.map(({ module }) => ({ module, reason })))
    return []
  })
  return { matched, unmatched }
}

const NO_TENSOR = 'no tensor of the base has this name'

function pieceProblem(
  { magnitude, bias }: AdapterModule,
  role: Role,
  expert: number,
  { name, shape }: StoredTensor,
): string | undefined {
  if (magnitude !== undefined) return `is DoRA, which nothing defines of a part of ${quoted(name)}`
  if (bias !== undefined) return `has a bias, and ${quoted(name)} has its own elsewhere`
  if (expert >= shape[0]) return `${quoted(name)} has the experts 0 to ${shape[0] - 1}`
  const isHalved = shape.slice(1).some((n) => n % 2 === 0)
  return role === 'down' || isHalved ? undefined : `${quoted(name)} ${shapeText(shape)} has no two halves`
}

/** Whether a stack is [experts, in, out], by the shapes of all its pieces; undefined where they don't fit. */
function lies(pieces: readonly Piece[], { shape }: StoredTensor, traits: ModelTraits): boolean | undefined {
  const fits = (isTransposed: boolean) => {
    const [rows, columns] = isTransposed ? [shape[2], shape[1]] : [shape[1], shape[2]]
    return pieces.every(({ module: { productShape }, role }) => {
      const [out, inputs] = productShape
      return inputs === columns && (role === 'down' ? out : 2 * out) === rows
    })
  }
  const [isPlain, isTurned] = [fits(false), fits(true)]
  return isPlain && isTurned ? traits.expertsInOut : isPlain ? false : isTurned ? true : undefined
}

function stackOf(
  stack: StoredTensor,
  pieces: readonly Piece[],
  isTransposed: boolean,
  traits: ModelTraits,
): MatchedModule {
  const [experts, rows, columns] = stack.shape
  const [out, inputs] = isTransposed ? [columns, rows] : [rows, columns]
  const runs = new Map<Role, readonly RowRun[] | undefined>()
  const runsOf = (role: Role) => {
    if (!runs.has(role)) runs.set(role, runsIn(role, out / 2, traits))
    return runs.get(role)
  }
  const parts: AdapterModule[][] = Array.from({ length: experts }, () => [])
  for (const { module, role, expert } of pieces) {
    const fit = runsOf(role)
    parts[expert].push({ ...module, rows: out, isTransposed: false, ...(fit !== undefined && { fit }) })
  }
  const rank = parts.reduce(
    (most, own) =>
      Math.max(
        most,
        own.reduce((sum, one) => sum + one.rank, 0),
      ),
    1,
  )
  const [{ module: first }] = pieces
  const owner = ownerAs(EXPERT.exec(first.path)![1], stack.name)
  return {
    module: {
      ...{
        path: owner,
        label: `${owner}.${leafOfPath(stack.name)}`,
        prefix: first.prefix,
        tensor: stack.name,
      },
      ...{ kind: 'experts', shape: stack.shape, rows, columns, experts, isTransposed },
      ...{ product: { kind: 'stack', parts }, productShape: [out, inputs], kernel: [] },
      ...{ rank, dim: rank, scale: 1 },
    },
    base: stack,
  }
}

/** Finds the projections of an experts module's experts in a base that has each as a matrix: none where it hasn't. */
export type ExpertFinder = (owner: string) => readonly ReadonlyMap<Role, StoredTensor>[] | undefined

/** The matrices of single experts of a base, by the module that they are below, without the prefixes that may be missing. */
export function expertsByOwner(base: Checkpoint): ExpertFinder {
  let found: Map<string, Map<Role, StoredTensor>[]> | undefined
  const all = () => {
    const byOwner = new Map<string, Map<Role, StoredTensor>[]>()
    for (const tensor of base.tensors.values()) {
      const [, owner, expert, leaf] = EXPERT.exec(tensor.name.replace(/\.weight$/, '')) ?? []
      if (owner === undefined || tensor.shape.length !== 2 || !tensor.name.endsWith('.weight')) continue
      const key = ownerKey(owner)
      const experts = byOwner.get(key) ?? []
      experts[Number(expert)] ??= new Map()
      experts[Number(expert)].set(ROLES[leaf], tensor)
      byOwner.set(key, experts)
    }
    return byOwner
  }
  return (owner) => {
    found ??= all()
    return found.get(ownerKey(owner))
  }
}

/**
 * A module of stacked experts as modules of the base's single ones, each with its rows of its expert's B·A; undefined where the base has no
 * such matrices, a reason where their shapes don't tell what the module is of. Without a config the number of experts is the base's.
 */
export function inSingleExperts(
  module: AdapterModule,
  find: ExpertFinder,
  config: PeftConfig | undefined,
  traits: ModelTraits,
): readonly MatchedModule[] | { readonly reason: string } | undefined {
  const { product, path } = module
  const owner = path.replace(/(?:\.base_layer)+$/, '')
  const experts = find(owner)
  if (experts === undefined || product.kind !== 'lora' || product.isTurned) return undefined
  const { A, B } = product
  const isStack = module.kind === 'experts'
  if (isStack ? module.experts !== experts.length : config !== undefined || A.shape[0] % experts.length !== 0)
    return undefined
  const named = leafOfPath(module.tensor)
  const forms = (['gate_up_proj', 'down_proj'] as const)
    .filter((stack) => named === stack || (named !== 'gate_up_proj' && named !== 'down_proj'))
    .flatMap((stack) => formsOf(stack, experts, [B.shape[0], A.shape[1]]))
  if (forms.length === 0) return undefined
  const form = forms.length === 1 ? forms[0] : formOf(config?.peftVersion, forms, traits)
  if (form === undefined)
    return { reason: "its shape fits the experts in two ways: it can't be told which is meant" }
  const { roles, isTransposed } = form
  const rank = A.shape[0] / experts.length
  const scale = isStack || module.alpha === undefined ? module.scale : module.alpha / rank
  return experts.flatMap((own, expert) =>
    roles.map((role): MatchedModule => {
      const base = own.get(role)!
      const [rows, columns] = base.shape
      const name = `${ownerAs(owner, base.name)}.${expert}.${leafOfPath(base.name.replace(/\.weight$/, ''))}`
      const fit = role === 'down' ? undefined : inverted(runsIn(role, rows, traits)!)
      const down = rowsOf(A, expert * rank, rank)
      const every = { first: expert, of: experts.length }
      return {
        module: {
          ...module,
          ...{ path: name, label: name, ofLabel: labelInFile(module), tensor: base.name },
          ...{ kind: 'linear', isTransposed: false },
          ...{ shape: base.shape, rows, columns, experts: 1, rank, dim: rank, scale },
          // of a transposed pair Aᵀ·Bᵀ is the product
          product: isTransposed
            ? { kind: 'lora', A: B, B: down, isTurned: true, every: { side: 'A', ...every } }
            : { kind: 'lora', A: down, B, every: { side: 'B', ...every } },
          productShape: isTransposed ? [A.shape[1], B.shape[0]] : [B.shape[0], A.shape[1]],
          ...(fit !== undefined && { fit }),
        },
        base,
      }
    }),
  )
}

const inverted = (runs: readonly RowRun[]): RowRun[] =>
  runs.map(({ module, weight, count }) => ({ module: weight, weight: module, count }))

interface PairForm {
  readonly roles: readonly Role[]
  readonly isTransposed: boolean
}

/** Which of two ways in which a pair lies is meant, where the version of PEFT is told and both are of the same projections. */
function formOf(
  version: string | undefined,
  forms: readonly PairForm[],
  traits: ModelTraits,
): PairForm | undefined {
  const isOfOneStack = forms.every(({ roles }) => roles.length === forms[0].roles.length)
  if (version === undefined || !isOfOneStack) return undefined
  return forms.find(({ isTransposed }) => isTransposed === takesSecondAsInput(version, traits))
}

/** The ways in which a pair [out, in] of each expert is one of the experts' projections. */
function formsOf(
  stack: 'gate_up_proj' | 'down_proj',
  experts: readonly ReadonlyMap<Role, StoredTensor>[],
  [out, inputs]: readonly [number, number],
): PairForm[] {
  const roles: readonly Role[] = stack === 'down_proj' ? ['down'] : ['gate', 'up']
  const shapes = experts.map((own) => roles.map((role) => own.get(role)?.shape))
  const fits = ([rows, columns]: readonly [number, number]) =>
    shapes.every((all) =>
      all.every((shape) => shape !== undefined && shape[0] * roles.length === rows && shape[1] === columns),
    )
  return [
    ...(fits([out, inputs]) ? [{ roles, isTransposed: false }] : []),
    ...(fits([inputs, out]) ? [{ roles, isTransposed: true }] : []),
  ]
}
