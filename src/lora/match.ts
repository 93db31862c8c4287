import type { Checkpoint, StoredTensor } from '../checkpoint/types.ts'
import { badInput, type LoraSvdError, tolerating } from '../errors.ts'
import { addTo } from '../text/compare.ts'
import { quoted, shapeText } from '../text/quote.ts'
import { type BaseIndex, baseIndex } from './base-names.ts'
import { expertsByOwner, inSingleExperts, inStacks, isOfOneExpert, ownerKey } from './experts.ts'
import type { Place } from './families/places.ts'
import { overlap, rowsReached, rowsWanted, runsOf } from './fit.ts'
import { inModelNames } from './gguf-modules.ts'
import {
  type Adapter,
  type AdapterModule,
  labelInFile,
  type ModuleKind,
  type ReplacedTensor,
  tensorsOf,
} from './model.ts'
import { loraScale, type PeftConfig } from './read/peft-config.ts'
import { takesSecondAsInput } from './stack-order.ts'
import { type ModelTraits, modelTraits } from './traits.ts'

export interface MatchedModule {
  /** With the base tensor's name, and the kind and shape that this settles. */
  readonly module: AdapterModule
  readonly base: StoredTensor
}

export interface UnmatchedModule {
  readonly module: AdapterModule
  readonly reason: string
  /** The weight is found, and another module changes the same rows of it. */
  readonly isShared?: true
}

/** A whole tensor with the base tensor's name, where there is one; several of one that the base has in parts. */
export interface MatchedTensor {
  readonly replaced: ReplacedTensor
  readonly base?: StoredTensor
  readonly asRead: ReplacedTensor
}

export interface BaseMatch {
  readonly matched: readonly MatchedModule[]
  readonly unmatched: readonly UnmatchedModule[]
  readonly replaced: readonly MatchedTensor[]
  readonly warnings: readonly string[]
}

/** Names listed at most where several tensors may be meant. */
const LISTED_NAMES = 3

/**
 * The base tensor that each module applies to, and what its shape says of the module's kind. A module whose name fits no
 * tensor of the base, or several, is listed with the reason. `traits` are those of the base, by its own config.json where
 * nothing better is known. Throws `bad-input` naming both tensors where shapes don't fit, but where `onMisfit` is told instead: the module
 * is then left out.
 */
export function matchToBase(
  asStored: Adapter,
  base: Checkpoint,
  traits: ModelTraits = modelTraits(base.config, base.tensors),
  onMisfit?: (error: LoraSvdError) => void,
): BaseMatch {
  const { adapter, unnamed } = inModelNames(asStored, base)
  const find = baseIndex(base, adapter.format)
  const stacks = stacksByOwner(base)
  const singles = expertsByOwner(base)
  const ofSingles: AdapterModule[] = []
  const matched: MatchedModule[] = []
  const unmatched: UnmatchedModule[] = [...unnamed]
  const put = (module: AdapterModule) => {
    const alternatives = find(module.tensor, module.prefix)
    if (alternatives.length > 1) {
      unmatched.push({ module, reason: ambiguity(alternatives.map(([{ tensor }]) => tensor)) })
      return
    }
    const [places = []] = alternatives
    if (places.some(isFitted)) {
      matched.push(...fittedTo(adapter, base, module, places))
      return
    }
    const named = base.tensors.get(places[0]?.tensor)
    const isStackOf = (tensor: StoredTensor) => asStack(module, tensor, adapter.config, traits) !== undefined
    if (named !== undefined && (module.kind !== 'experts' || isStackOf(named))) {
      matched.push(settle(adapter, traits, module, named))
      return
    }
    const found = matchStack(adapter, module, stacks, traits)
    if ('base' in found) {
      matched.push(found)
      return
    }
    const parts = inSingleExperts(module, singles, adapter.config, traits)
    if (parts !== undefined && 'reason' in parts) unmatched.push({ module, reason: parts.reason })
    else if (parts !== undefined) matched.push(...parts)
    else if (named !== undefined) throw misfit(adapter, module, named)
    else if (isOfOneExpert(module)) ofSingles.push(module)
    else unmatched.push(found)
  }
  for (const module of adapter.modules) tolerating(onMisfit, () => put(module))
  const stacked = inStacks(ofSingles, stacks, traits)
  matched.push(...stacked.matched)
  unmatched.push(...stacked.unmatched)
  const [own, shared] = separateShared(matched)
  const transposed = own.filter(({ module }) => module.kind === 'conv1d')
  const warnings =
    adapter.config?.fanInFanOut === false && transposed.length > 0
      ? [
          `fan_in_fan_out is false, but the base stores ${quoted(transposed[0].base.name)} as [in, out] (${transposed.length} such): taken as PEFT does, transposed`,
        ]
      : []
  return {
    matched: own,
    unmatched: [...unmatched, ...shared],
    replaced: adapter.replaced.flatMap(
      (replaced) => tolerating(onMisfit, () => matchReplaced(adapter, replaced, base, find)) ?? [],
    ),
    warnings,
  }
}

const ambiguity = (names: readonly string[]) =>
  `may be any of ${names.slice(0, LISTED_NAMES).map(quoted).join(', ')}${names.length > LISTED_NAMES ? ', …' : ''}`

/** Two modules for the same rows of one base tensor: which is meant can't be told. */
function separateShared(matched: readonly MatchedModule[]): [MatchedModule[], UnmatchedModule[]] {
  const byBase = new Map<string, MatchedModule[]>()
  for (const match of matched) addTo(byBase, match.base.name, match)
  const rowsOf = ({ module, base }: MatchedModule) => rowsReached(module.fit, base.shape[0])
  const isShared = (match: MatchedModule) => {
    const rows = rowsOf(match)
    return byBase.get(match.base.name)!.some((other) => other !== match && overlap(rows, rowsOf(other)))
  }
  const shared = matched.filter(isShared)
  const isOf = new Set(shared)
  return [
    matched.filter((match) => !isOf.has(match)),
    shared.map(({ module, base }) => ({
      module,
      reason: `applies to ${quoted(base.name)}, and so does another module of the adapter`,
      isShared: true,
    })),
  ]
}

const isFitted = ({ rows, moduleRows, swapHalves, isTransposed }: Place) =>
  (rows ?? moduleRows ?? swapHalves ?? isTransposed) !== undefined

/** A module, a matrix for each of the base's tensors that it has rows of. Throws where its shape isn't that of all of them. */
function fittedTo(
  adapter: Adapter,
  base: Checkpoint,
  module: AdapterModule,
  places: readonly Place[],
): MatchedModule[] {
  const [out, columns] = module.productShape
  return places.map((place): MatchedModule => {
    const tensor = base.tensors.get(place.tensor)!
    const isTransposed = place.isTransposed === true
    const { shape } = tensor
    const width = widthOf(shape)
    const isOne = isTransposed
      ? shape.length === 2 && shape[0] === columns && shape[1] === out
      : width === columns && rowsWanted(places, shape[0]) === out && isSameKernel(module, shape)
    if (!isOne || module.kind === 'embedding' || module.kind === 'experts')
      throw misfit(adapter, module, tensor)
    const fit = isTransposed ? undefined : runsOf(place, [out, shape[0]])
    const kind = isTransposed ? 'conv1d' : shape.length > 2 ? 'convolution' : 'linear'
    const { moduleRows } = place
    return {
      module: {
        ...module,
        ...{ tensor: tensor.name, kind, shape, rows: shape[0], columns: width, isTransposed },
        ...(moduleRows !== undefined && {
          label: `${module.label}[${moduleRows[0]}:${moduleRows[1]}]`,
          ofLabel: labelInFile(module),
        }),
        ...(fit !== undefined && { fit }),
      },
      base: tensor,
    }
  })
}

/** The tensors that a whole one is for, each with its rows of it. */
function matchReplaced(
  { path }: Adapter,
  replaced: ReplacedTensor,
  base: Checkpoint,
  find: BaseIndex,
): MatchedTensor[] {
  const ofModule = find(replaced.name, replaced.prefix)
  // ComfyUI's `X.diff` may be of a parameter X that is no module's (comfy/lora.py)
  const found = ofModule.length > 0 ? ofModule : find(replaced.name.replace(/\.weight$/, ''), replaced.prefix)
  if (found.length !== 1) return [{ replaced, asRead: replaced }]
  const [places] = found
  return places.map((place): MatchedTensor => {
    const tensor = base.tensors.get(place.tensor)!
    const own = { ...replaced, name: tensor.name }
    if (!isFitted(place)) return { replaced: own, base: tensor, asRead: replaced }
    const { shape } = replaced.tensor
    // of a vector there is nothing to turn
    const isTurned = place.isTransposed === true && shape.length > 1
    const isOne = !isTurned && shape[0] === rowsWanted(places, tensor.shape[0])
    if (!isOne || replaced.how === 'replace') throw unfit(path, replaced, tensor, isOne)
    const fit = runsOf(place, [shape[0], tensor.shape[0]])
    return { replaced: { ...own, ...(fit !== undefined && { fit }) }, base: tensor, asRead: replaced }
  })
}

const unfit = (path: string, { tensor }: ReplacedTensor, base: StoredTensor, isOne: boolean) =>
  badInput(
    `${path}: tensor ${quoted(tensor.name)} ${shapeText(tensor.shape)} ${isOne ? `takes the place of rows of ${quoted(base.name)}, which is stored otherwise in this base: apply it to a base that has the weight as the adapter names it` : `doesn't fit the base's ${quoted(base.name)} ${shapeText(base.shape)}`}`,
    { file: path, tensor: tensor.name },
  )

function settle(
  adapter: Adapter,
  traits: ModelTraits,
  module: AdapterModule,
  tensor: StoredTensor,
): MatchedModule {
  if (tensor.shape.length === 3 && (module.kind === 'experts' || mayBeStack(module))) {
    const stack = asStack(module, tensor, adapter.config, traits)
    if (stack !== undefined) return stack
  }
  const kind = settledKind(adapter, traits, module, tensor)
  if (kind === undefined) throw misfit(adapter, module, tensor)
  const { name, shape } = tensor
  const form = {
    tensor: name,
    kind,
    shape,
    rows: shape[0],
    columns: widthOf(shape),
    isTransposed: kind === 'embedding' || kind === 'conv1d',
  }
  return { module: { ...module, ...form }, base: tensor }
}

function settledKind(
  adapter: Adapter,
  traits: ModelTraits,
  module: AdapterModule,
  { name, shape }: StoredTensor,
): ModuleKind | undefined {
  const [out, columns] = module.productShape
  const width = widthOf(shape)
  const isPlain = shape[0] === out && width === columns
  const isTransposed = shape.length === 2 && shape[0] === columns && shape[1] === out
  switch (module.kind) {
    case 'embedding':
      return isTransposed ? 'embedding' : undefined
    case 'convolution':
      return isPlain && isSameKernel(module, shape) ? 'convolution' : undefined
    case 'experts':
      return undefined
    default: {
      if (isPlain && shape.length > 2) return 'convolution'
      if (!isPlain || !isTransposed) return isPlain ? 'linear' : isTransposed ? 'conv1d' : undefined
      // PEFT goes by the class; fan_in_fan_out is one flag for all, which tells where nothing else does
      const isConv1d = traits.isConv1d(name.replace(/\.weight$/, '')) ?? adapter.config?.fanInFanOut
      return isConv1d ? 'conv1d' : 'linear'
    }
  }
}

const widthOf = (shape: readonly number[]) => shape.slice(1).reduce((product, n) => product * n, 1)

/** Factors stored flat may be one pair for each expert of a stack. */
const mayBeStack = ({ product }: AdapterModule) =>
  product.kind === 'lora' && product.A.shape.length === 2 && !product.isTurned

/** Factors stored flat fit any kernel of as many entries; others have to have the base's. */
function isSameKernel({ kernel }: AdapterModule, shape: readonly number[]): boolean {
  return shape.length === 2 ? kernel.every((n) => n === 1) : kernel.join() === shape.slice(2).join()
}

function misfit(adapter: Adapter, module: AdapterModule, tensor: StoredTensor) {
  const tensors = tensorsOf(module.product)
  const named = tensors.map(({ name, shape }) => `${quoted(name)} ${shapeText(shape)}`).join(' and ')
  return badInput(
    `${adapter.path}: tensors ${named} don't fit the base's ${quoted(tensor.name)} ${shapeText(tensor.shape)}: the adapter belongs to another base`,
    { file: adapter.path, tensor: tensors[0].name },
  )
}

/** The 3-D tensors of the base by the module they are parameters of, without the prefixes that may be missing. */
function stacksByOwner(base: Checkpoint): ReadonlyMap<string, StoredTensor[]> {
  const stacks = new Map<string, StoredTensor[]>()
  for (const tensor of base.tensors.values()) {
    const dot = tensor.name.lastIndexOf('.')
    if (tensor.shape.length !== 3 || dot < 0) continue
    const owner = ownerKey(tensor.name.slice(0, dot))
    addTo(stacks, owner, tensor)
  }
  return stacks
}

function matchStack(
  adapter: Adapter,
  module: AdapterModule,
  stacks: ReadonlyMap<string, StoredTensor[]>,
  traits: ModelTraits,
): MatchedModule | UnmatchedModule {
  const owner = ownerKey(module.path.replace(/(?:\.base_layer)+$/, ''))
  const targets = adapter.config?.targetParameters.map((name) => name.split('.').at(-1)) ?? []
  const fitting = (mayBeStack(module) ? (stacks.get(owner) ?? []) : [])
    .filter(({ name }) => targets.length === 0 || targets.includes(name.split('.').at(-1)))
    .flatMap((tensor) => asStack(module, tensor, adapter.config, traits) ?? [])
  if (fitting.length === 1) return fitting[0]
  return {
    module,
    reason:
      fitting.length === 0
        ? 'no tensor of the base has this name'
        : ambiguity(fitting.map(({ base }) => base.name)),
  }
}

/**
 * The module as one of a stack [experts, ·, ·], where the shapes allow that. Of a square one the version of PEFT and the model's type tell
 * whether it is taken as [in, out].
 */
function asStack(
  module: AdapterModule,
  tensor: StoredTensor,
  config: PeftConfig | undefined,
  traits: ModelTraits,
): MatchedModule | undefined {
  const { product, alpha } = module
  const hasConfig = config !== undefined
  if (product.kind !== 'lora') return undefined
  const { A, B } = product
  const [experts, rows, columns] = tensor.shape
  const rank = A.shape[0] / experts
  const isPlain = rows === B.shape[0] && columns === A.shape[1]
  const isTransposed = columns === B.shape[0] && rows === A.shape[1]
  if (module.kind === 'embedding' || !Number.isInteger(rank) || !(isPlain || isTransposed)) return undefined
  // with a config the rank is known, and with it the number of experts
  if (hasConfig && rank !== module.rank) return undefined
  return {
    module: {
      ...module,
      tensor: tensor.name,
      kind: 'experts',
      shape: tensor.shape,
      rows,
      columns,
      experts,
      isTransposed: isPlain && isTransposed ? takesSecondAsInput(config?.peftVersion, traits) : isTransposed,
      productShape: [B.shape[0], A.shape[1]],
      rank,
      dim: rank,
      scale: hasConfig || alpha === undefined ? module.scale : loraScale(alpha, rank, false),
    },
    base: tensor,
  }
}
