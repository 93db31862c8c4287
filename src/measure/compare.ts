import { isSameForm, matricesOfView } from '../checkpoint/matrices.ts'
import { bringBeginningsNear, type PairingOptions, pairModels, sameNumbers } from '../checkpoint/models.ts'
import { pairsByTensor, type Unmatched } from '../checkpoint/pair.ts'
import { numbersOf, readBytes, refuseNonFiniteNumbers, refuseNonFiniteTensor } from '../checkpoint/read.ts'
import type { Checkpoint, MatrixPair, StoredTensor } from '../checkpoint/types.ts'
import { badInput } from '../errors.ts'
import { readableFloatOf } from '../formats/safetensors-dtype.ts'
import type { FloatArray } from '../linalg/matrix/matrix.ts'
import { frobeniusNorm } from '../linalg/matrix/norms.ts'
import { readFloats } from '../lora/factors.ts'
import { type NotLoaded, notLoaded } from '../lora/found-by-loaders.ts'
import { matchToBase } from '../lora/match.ts'
import {
  type Adapter,
  type AdapterModule,
  blamed,
  ofExpert,
  type ReplacedTensor,
  type RowRun,
} from '../lora/model.ts'
import { refuseOtherSums } from '../lora/other-sums.ts'
import { modelTraits } from '../lora/traits.ts'
import type { Placed } from '../shards/merge.ts'
import { addTo } from '../text/compare.ts'
import { quoted } from '../text/quote.ts'
import {
  changeBetween,
  type Measured,
  type MeasureJob,
  type NotCarried,
  relative,
  type VerifiedLayer,
  type VerifiedTensor,
} from './measure.ts'

/** What is to be measured of an adapter, from headers and equal bytes: each with its tensor's place among all that are compared. */
export interface Comparison {
  /** How many tensors are compared, by this process or by others. */
  readonly tensors: number
  readonly jobs: readonly MeasureJob[]
  /** Whole tensors of the adapter beside those that they stand for. */
  readonly replaced: readonly WholeTensor[]
  /** Vectors and the like that changed and that nothing carries. */
  readonly others: readonly Other[]
  readonly unchanged: readonly Placed<{ readonly name: string }>[]
  readonly notLoaded: readonly NotLoaded[]
  /** How many tensors have their counterpart, or are stored whole; and how many not. */
  readonly matched: number
  readonly unmatched: number
  readonly warnings: readonly string[]
}

export interface Other extends Unmatched {
  readonly at: number
  /** It was asked to leave this out: entries that are no numbers stop nothing. */
  readonly isLeftOut: boolean
}

export interface WholeTensor {
  readonly at: number
  readonly name: string
  /** One, or several that are of other rows. */
  readonly replaced: readonly ReplacedTensor[]
  readonly base: StoredTensor | undefined
  readonly tuned: StoredTensor
}

/**
 * Sets each module of an adapter beside the change that it stands for. Throws `bad-input` where modules have no tensor of the base
 * to apply to, or the adapter is one whose change is not scale·B·A alone. Tensors that are known to be equal in both aren't read, nor those
 * that are another process's: `isOwnOf` is told the bytes that each takes to read.
 */
export async function compare(
  adapter: Adapter,
  base: Checkpoint,
  tunedAsStored: Checkpoint,
  options: PairingOptions,
  knownEqual: ReadonlySet<string>,
  isOwnOf: (bytes: readonly number[]) => readonly boolean[] = (bytes) => bytes.map(() => true),
): Promise<Comparison> {
  refuseOtherSums(adapter)
  const pairing = await pairModels(base, tunedAsStored, options)
  const { tiedHead, tuned } = pairing
  const traits = modelTraits(base.config ?? tunedAsStored.config, base.tensors)
  const match = matchToBase(adapter, tiedHead === undefined ? base : withTensor(base, tiedHead), traits)
  const [lost] = match.unmatched
  if (lost !== undefined) {
    throw badInput(
      `${adapter.path}: the module ${quoted(lost.module.label)} can't be applied to ${base.path}: ${lost.reason}`,
      { file: adapter.path, tensor: blamed(lost.module, 'A').name },
    )
  }
  const isEqual = async (name: string, inBase: StoredTensor, inTuned: StoredTensor) =>
    knownEqual.has(name) || (await sameNumbers(inBase, inTuned))
  const modulesOf = new Map<string, AdapterModule[]>()
  for (const { module } of match.matched) addTo(modulesOf, module.tensor, module)
  const wholes = new Map<string, ReplacedTensor[]>()
  for (const { replaced } of match.replaced) addTo(wholes, replaced.name, replaced)
  const paired = pairsByTensor(pairing.pairs)
  const isOwn = isOwnOf([
    ...paired.map((pairs) => sum(pairs, ({ base: b, tuned: t }) => b.bytes + t.bytes)),
    ...pairing.unmatched.map((one) => (one.base?.bytes ?? 0) + (one.tuned?.bytes ?? 0)),
  ])
  const isOwnOther = (i: number) => isOwn[paired.length + i]
  await bringBeginningsNear(
    pairing.unmatched.flatMap(({ name, base: inBase, tuned: inTuned }, i) =>
      isOwnOther(i) && inBase !== undefined && inTuned !== undefined && !knownEqual.has(name)
        ? [inBase, inTuned]
        : [],
    ),
  )
  const unchanged: Placed<{ name: string }>[] = []
  const jobs: MeasureJob[] = []
  const paths = { adapter: adapter.path, base: base.path, tuned: tuned.path }
  const replaced: WholeTensor[] = []
  for (const [at, pairs] of paired.entries()) {
    const [{ base: b, tuned: t }] = pairs
    const [inBase, inTuned] = [base.tensors.get(b.tensor)!, tuned.tensors.get(t.tensor)!]
    const name = t.tensor === tiedHead?.name ? t.tensor : b.tensor
    const isLeftOut = !pairing.isWanted(t.tensor)
    // of what the user leaves out the adapter has zeros at most, which complete a group
    const modules = isLeftOut ? [] : (modulesOf.get(name) ?? [])
    const [module] = modules
    const whole = wholes.get(name)
    if (whole !== undefined) {
      if (module !== undefined) throw bothWays(adapter, module, whole[0])
      if (isOwn[at]) replaced.push({ at, name: t.tensor, replaced: whole, base: inBase, tuned: inTuned })
    } else if (!isOwn[at]) continue
    else if (module === undefined && (await isEqual(t.tensor, inBase, inTuned))) {
      unchanged.push({ at, name: t.tensor })
    } else {
      const matrices = module?.kind !== 'experts' ? pairs : stackOf(inBase, inTuned, pairs[0])
      jobs.push(...matrices.map((pair, i) => ({ at, ...jobOf(pair, modules, i), isLeftOut, paths })))
    }
  }
  const others: Other[] = []
  let carried = 0
  for (const [i, one] of pairing.unmatched.entries()) {
    const { base: inBase, tuned: inTuned, name } = one
    const at = paired.length + i
    const whole = inTuned === undefined ? undefined : wholes.get(inBase?.name ?? pairing.nameInBase(name))
    if (whole !== undefined && inTuned !== undefined) {
      if (isOwn[at]) replaced.push({ at, name, replaced: whole, base: inBase, tuned: inTuned })
      if (pairing.lost.has(one)) carried++
    } else if (!isOwn[at]) continue
    else if (inBase !== undefined && inTuned !== undefined && (await isEqual(name, inBase, inTuned))) {
      unchanged.push({ at, name })
    } else others.push({ at, ...one, isLeftOut: !pairing.isWanted(name) })
  }
  return {
    tensors: isOwn.length,
    jobs,
    replaced,
    others,
    unchanged,
    notLoaded: notLoaded(adapter, match.matched, traits),
    matched: pairing.matched + carried,
    unmatched: pairing.lost.size - carried,
    warnings: [...adapter.warnings, ...match.warnings, ...pairing.warnings],
  }
}

const sum = <T>(all: readonly T[], of: (one: T) => number) => all.reduce((total, one) => total + of(one), 0)

const bothWays = ({ path }: Adapter, { label, tensor }: AdapterModule, replaced: ReplacedTensor) =>
  badInput(
    `${path}: ${quoted(tensor)} gets the factors of ${quoted(label)} and ${quoted(replaced.tensor.name)} too: which of them holds depends on who loads it`,
    { file: path, tensor: replaced.tensor.name },
  )

/** A tensor that the adapter takes for a stack of experts, which by its shape alone may look like a kernel. */
function stackOf(base: StoredTensor, tuned: StoredTensor, { base: b, tuned: t }: MatrixPair): MatrixPair[] {
  const [count, rows, columns] = tuned.shape
  const view = { kind: 'expert', count, rows, columns } as const
  const before = matricesOfView(base, view, b.dtype)
  return matricesOfView(tuned, view, t.dtype).map((matrix, i) => ({
    name: matrix.name,
    base: before[i],
    tuned: matrix,
  }))
}

const withTensor = (base: Checkpoint, tensor: StoredTensor): Checkpoint => ({
  ...base,
  tensors: new Map([...base.tensors, [tensor.name, tensor]]),
})

/** A job for one matrix of a tensor. */
const jobOf = (pair: MatrixPair, modules: readonly AdapterModule[], index: number) =>
  modules[0]?.kind === 'experts'
    ? { pair, modules: modules.map((module) => ofExpert(module, index)), expert: index }
    : { pair, modules }

/** Of a matrix, once it is measured: a layer of the adapter, or a change that nothing carries. */
export function outcomeOf(
  { pair, modules }: MeasureJob,
  { delta, residual, base, output }: Measured,
): VerifiedLayer | NotCarried {
  const { name, tuned } = pair
  if (modules.length === 0) {
    const reason = 'the adapter has no factors for it'
    if (!Number.isFinite(delta)) return { name, reason: `${reason}, and it has entries that are no numbers` }
    return { name, reason, deltaFrobenius: delta, relativeChange: relative(delta, base) }
  }
  return {
    name,
    shape: [tuned.rows, tuned.columns],
    rank: modules.reduce((sum, { rank }) => sum + rank, 0),
    scale: modules.every(({ scale }) => scale === modules[0].scale) ? modules[0].scale : undefined,
    deltaFrobenius: delta,
    residualFrobenius: residual,
    baseFrobenius: base,
    relativeError: relative(residual, delta),
    ...(output !== undefined && {
      output: { ...output, relativeError: relative(output.residual, output.delta) },
    }),
  }
}

/** How far a whole tensor of the adapter is from the tuned one. Throws LoraSvdError `not-finite` on NaN and infinity in either. */
export async function measureWhole(
  { name, replaced, base, tuned }: WholeTensor,
  paths: MeasureJob['paths'],
): Promise<VerifiedTensor> {
  const [{ tensor: first }] = replaced
  if (!isFloat(tuned) || !isFloat(first)) return sameOrNot(name, first, tuned)
  const isComparable = base !== undefined && isSameForm(base.shape, tuned.shape)
  const before = isComparable ? await valuesOf(base) : undefined
  const after = await readFloats(tuned)
  refuseNonFiniteNumbers(paths.tuned, tuned.name, after)
  let reached: ArrayLike<number> | undefined = before
  for (const one of replaced) {
    const stored = await readFloats(one.tensor)
    refuseNonFiniteNumbers(paths.adapter, one.tensor.name, stored)
    reached = reachedBy(one, reached, stored)
  }
  const deltaFrobenius = before === undefined ? frobeniusNorm(after) : distance(after, before)
  const residualFrobenius =
    reached?.length === after.length ? distance(after, reached) : Number.POSITIVE_INFINITY
  return {
    name,
    deltaFrobenius,
    residualFrobenius,
    relativeError: relative(residualFrobenius, deltaFrobenius),
  }
}

/** The base's values with a tensor of the adapter added to them, put in their place, or put in the place of some of their rows. */
function reachedBy(
  { how, rows, tensor, fit }: ReplacedTensor,
  before: ArrayLike<number> | undefined,
  stored: FloatArray,
): ArrayLike<number> {
  if (before === undefined) return stored
  if (how === 'add' && fit === undefined) return Float64Array.from(stored, (x, i) => x + before[i])
  if (fit !== undefined) return withRowsAdded(before, stored, fit, stored.length / tensor.shape[0])
  if (rows === undefined) return stored
  const [, width] = tensor.shape
  const reached = Float64Array.from(before)
  for (const [i, row] of rows.entries()) reached.set(stored.subarray(i * width, (i + 1) * width), row * width)
  return reached
}

/** Rows of so many entries, added where they lie. */
function withRowsAdded(
  before: ArrayLike<number>,
  stored: FloatArray,
  fit: readonly RowRun[],
  width: number,
): Float64Array {
  const reached = Float64Array.from(before)
  for (const { module, weight, count } of fit) {
    for (let i = 0; i < count * width; i++) reached[weight * width + i] += stored[module * width + i]
  }
  return reached
}

/** Of counters and the like, which have no norm to add to the others: right or wrong. */
async function sameOrNot(name: string, stored: StoredTensor, tuned: StoredTensor): Promise<VerifiedTensor> {
  const error = (await sameNumbers(stored, tuned)) ? 0 : Number.POSITIVE_INFINITY
  return { name, deltaFrobenius: 0, residualFrobenius: error, relativeError: error }
}

/**
 * A change that nothing carries, with its size where there are numbers to compare: what one of the two lacks counts as zero.
 * Throws LoraSvdError `not-finite` on NaN and infinity in either.
 */
export async function measureOther(
  { name, base, tuned, reason: kind, detail: reason, isLeftOut }: Other,
  paths: Pick<MeasureJob['paths'], 'base' | 'tuned'>,
): Promise<NotCarried> {
  if (kind === 'computed') return { name, reason }
  const change = await changeBetween(base, tuned)
  if (change === undefined) return { name, reason }
  const { delta: deltaFrobenius, base: before } = change
  if (!Number.isFinite(deltaFrobenius)) {
    if (!isLeftOut) {
      await refuseNonFiniteTensor(paths.tuned, tuned)
      await refuseNonFiniteTensor(paths.base, base)
    }
    return { name, reason }
  }
  const isInBoth = base !== undefined && tuned !== undefined
  return {
    name,
    reason,
    deltaFrobenius,
    ...(isInBoth && { relativeChange: relative(deltaFrobenius, before) }),
  }
}

const isFloat = ({ dtype }: StoredTensor) => readableFloatOf(dtype) !== undefined

/** The numbers of a tensor, integers too: a counter of one model may be a float of the other. */
const valuesOf = async (tensor: StoredTensor) => numbersOf(await readBytes(tensor), tensor.dtype)

function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return frobeniusNorm(Float64Array.from(a, (x, i) => x - b[i]))
}
