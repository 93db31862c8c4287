import { readWeight } from '../../checkpoint/read.ts'
import type { MatrixPair, WeightMatrix } from '../../checkpoint/types.ts'
import { differenceBytes, withDifference } from '../../delta/difference.ts'
import type { JobContext } from '../../jobs/worker.ts'
import { assertInRange, type NonFiniteEntries, nonFiniteEntries } from '../../linalg/matrix/finite.ts'
import { widened } from '../../linalg/matrix/half.ts'
import type { HalfMatrix, Matrix } from '../../linalg/matrix/matrix.ts'
import { epsilonOf, transpose } from '../../linalg/matrix/matrix.ts'
import { frobeniusNorm } from '../../linalg/matrix/norms.ts'
import { errorAt, rankAbove } from '../../linalg/spectrum/measures.ts'
import { isNoisy, type NoiseFloor } from '../../linalg/spectrum/noise-floor.ts'
import { settledFloor } from '../../linalg/spectrum/settled-floor.ts'
import {
  type IntegerRange,
  type Spectrum,
  type SpectrumOptions,
  spectrumOf,
  spectrumOfFactors,
} from '../../linalg/spectrum/spectrum.ts'
import {
  type Intrusion,
  intrusionBytes,
  intrusionFlops,
  intrusionOf,
} from '../../linalg/subspace/intruders.ts'
import { weighed } from '../../linalg/weighting/weigh.ts'
import { readFactors } from '../../lora/factors.ts'
import { blamed } from '../../lora/model.ts'
import { rootBytes, rootFlops, rootOfMoments } from '../../moments/root.ts'
import type { LayerMoments, MomentKind } from '../../moments/types.ts'
import type { Extent } from './options.ts'
import type { NoiseFindings, NonFinite } from './result.ts'
import type { Subject } from './subject.ts'

/** What a worker is asked: plain data. */
export interface InspectJob {
  readonly subject: Subject
  readonly extent: Extent
  /** Of an adapter beside its base: whether the directions that it brings are looked at. */
  readonly intruders: boolean
  readonly seed: bigint
  /** Of the inputs of a layer, in whose norm its delta is looked at too. */
  readonly moments?: LayerMoments
  /** As messages call the checkpoints. */
  readonly path: string
  readonly basePath: string
}

/** What was found out by looking at the numbers. */
export type Finding =
  | { readonly kind: 'not-finite'; readonly entries: readonly NonFinite[] }
  /** Base and tuned have the same numbers. */
  | { readonly kind: 'equal' }
  | {
      readonly kind: 'spectrum'
      readonly spectrum: Spectrum
      readonly engine: string
      readonly baseFrobenius?: number
      /** Of an adapter beside its base. */
      readonly intrusion?: Intrusion
      readonly noise?: Omit<NoiseFloor, 'edge'>
      /** Of a delta in the norm of its inputs. */
      readonly output?: OutputFinding
    }

/** What inputs feel of a delta: the spectrum of Δ·R, R·Rᵀ their second moments. */
export interface OutputFinding {
  readonly moments: MomentKind
  readonly samples?: number
  readonly floored: number
  readonly spectrum: Spectrum
}

/** Reads one matrix, or what makes it, and computes its spectrum. */
export async function inspectMatrix(job: InspectJob, context: JobContext): Promise<Finding> {
  const { subject } = job
  switch (subject.kind) {
    case 'weights':
      return inspectWeights(subject.weight, job, context)
    case 'delta':
      return inspectDelta(subject, job, context)
    case 'adapter':
      return inspectProduct(subject, job, context)
  }
}

/** The flops of a job, in the measure by which engines are chosen. */
export function flopsOf({ subject, extent, intruders, moments }: InspectJob): number {
  const [rows, columns] = shapeOf(subject)
  const order = Math.min(rows, columns)
  if (subject.kind === 'adapter') {
    const ofFactors = (rows + columns) * subject.module.rank ** 2
    return (
      ofFactors +
      (subject.base === undefined
        ? 0
        : intrusionFlops(rows, columns, { full: extent.kind === 'full', directions: intruders }))
    )
  }
  const share = extent.kind === 'full' ? 1 : Math.min(1, (SWEEPS * extent.count) / order)
  const plain = rows * columns * order * share
  return moments === undefined ? plain : 2 * plain + rootFlops(moments, rows)
}

/** Products of the matrix with as many columns as leading values that finding them takes, bounds included. */
const SWEEPS = 8

/** The most memory that a job takes at one time. */
export function bytesOf({ subject, extent, intruders, moments }: InspectJob): number {
  const [rows, columns] = shapeOf(subject)
  if (subject.kind === 'adapter') {
    const { base, module } = subject
    const ofBase =
      base === undefined
        ? 0
        : base.bytes + intrusionBytes(rows, columns, { full: extent.kind === 'full', directions: intruders })
    return 32 * (rows + columns) * module.rank + ofBase
  }
  const order = Math.min(rows, columns)
  // float32, or what is stored, beside the engine's own copy; a basis with its products; and for all values a Gram matrix with
  // its reduction
  const held = subject.kind === 'delta' ? differenceBytes(subject) : subject.weight.bytes + 4 * rows * columns
  const basis = Math.min(order, extent.kind === 'full' ? 0 : SWEEPS * extent.count)
  const square = extent.kind === 'full' || basis * 3 > order ? 3 * 8 * order * order : 0
  const weighing = moments === undefined ? 0 : rootBytes(moments) + 3 * 8 * rows * columns
  return held + 4 * rows * columns + 3 * 8 * (rows + columns) * basis + square + weighing
}

function shapeOf(subject: Subject): [rows: number, columns: number] {
  switch (subject.kind) {
    case 'weights':
      return [subject.weight.rows, subject.weight.columns]
    case 'delta':
      return [subject.tuned.rows, subject.tuned.columns]
    case 'adapter':
      return [...subject.module.productShape]
  }
}

async function inspectWeights(weight: WeightMatrix, job: InspectJob, context: JobContext): Promise<Finding> {
  const W = await readWeight(weight)
  const found = nonFiniteEntries(W)
  if (found !== undefined) {
    return { kind: 'not-finite', entries: [nonFinite(weight.name, job.path, found)] }
  }
  return { kind: 'spectrum', ...(await spectrum(W, job, context)) }
}

async function inspectDelta(
  pair: Extract<Subject, { kind: 'delta' }>,
  job: InspectJob,
  context: JobContext,
): Promise<Finding> {
  const engine = await context.engine(flopsOf(job))
  const how = { withNoise: true, smallAsFloat64: true, engine }
  return withDifference(pair, how, async (difference): Promise<Finding> => {
    const { delta, digest, changed, frobenius, noise, nonFinite: found } = difference
    const entries = [
      ...(found.base ? [nonFinite(pair.name, job.basePath, found.base)] : []),
      ...(found.tuned ? [nonFinite(pair.name, job.path, found.tuned)] : []),
    ]
    if (entries.length > 0) return { kind: 'not-finite', entries }
    assertInRange([[frobenius.base, frobenius.tuned, frobenius.delta]], { file: job.path, tensor: pair.name })
    if (changed === 0) return { kind: 'equal' }
    const seen = await spectrum(delta, job, context, { frobenius: frobenius.delta, digest })
    return {
      kind: 'spectrum',
      engine: seen.engine,
      // however exact the difference is, its digits are those of what is stored
      spectrum: { ...seen.spectrum, epsilon: epsilonOf[isWide(pair) ? 'f64' : 'f32'] },
      baseFrobenius: frobenius.base,
      ...(noise !== undefined && { noise: figuresOf(noise) }),
      ...(job.moments !== undefined && {
        output: await feltSpectrum(delta, job.moments, isWide(pair), job, context),
      }),
    }
  })
}

/** The spectrum of a delta in the norm of its inputs. */
async function feltSpectrum(
  delta: Matrix,
  moments: LayerMoments,
  isWide: boolean,
  job: InspectJob,
  context: JobContext,
): Promise<OutputFinding> {
  const engine = await context.engine(flopsOf(job))
  const root = await rootOfMoments(moments, engine)
  const own = moments.side === 'rows' ? (transpose(delta) as Matrix) : delta
  const felt = await spectrum(weighed(engine, own, root), job, context)
  const { rows, columns } = delta
  return {
    moments: moments.kind,
    ...(moments.samples !== undefined && { samples: moments.samples }),
    floored: root.kind === 'unit' ? 0 : root.floored,
    spectrum: { ...felt.spectrum, rows, columns, epsilon: epsilonOf[isWide ? 'f64' : 'f32'] },
  }
}

const isWide = ({ base, tuned }: MatrixPair) =>
  [base, tuned].some(({ dtype }) => !isNoisy(dtype) || dtype === 'f64')

const figuresOf = ({ edge, ...noise }: NoiseFloor) => noise

async function inspectProduct(
  { name, module, expert, base }: Extract<Subject, { kind: 'adapter' }>,
  job: InspectJob,
  context: JobContext,
): Promise<Finding> {
  const { B, A, scale } = await readFactors(module, expert)
  const entries = [
    { tensor: blamed(module, 'B').name, found: nonFiniteEntries(B) },
    { tensor: blamed(module, 'A').name, found: nonFiniteEntries(A) },
  ].flatMap(({ tensor, found }) =>
    found === undefined ? [] : [nonFinite(`${name} (${tensor})`, job.path, found)],
  )
  if (entries.length > 0) return { kind: 'not-finite', entries }
  const engine = await context.engine(flopsOf(job))
  const spectrum = spectrumOfFactors(B, A, scale, engine)
  assertInRange([spectrum.singularValues, [spectrum.frobenius]], { file: job.path, tensor: name })
  const result = { kind: 'spectrum' as const, spectrum, engine: engine.name }
  if (base === undefined) return result
  const W = await readWeight(base)
  const found = nonFiniteEntries(W)
  if (found !== undefined) return { kind: 'not-finite', entries: [nonFinite(base.name, job.basePath, found)] }
  const factors = { B, A, scale: spectrum.frobenius === 0 ? 0 : scale }
  // what DoRA makes of the weight is not W + scale·B·A
  const directions = job.intruders && module.magnitude === undefined
  const how = { engine, full: job.extent.kind === 'full', directions, seed: job.seed, name }
  return {
    ...result,
    baseFrobenius: frobeniusNorm(widened(W).data),
    intrusion: intrusionOf(W, factors, how),
  }
}

/** What is known of a matrix before its spectrum is. */
type Known = Pick<SpectrumOptions, 'frobenius' | 'digest'>

async function spectrum(A: Matrix | HalfMatrix, job: InspectJob, context: JobContext, known: Known = {}) {
  const { extent, seed, subject } = job
  const engine = await context.engine(flopsOf(job))
  const spectrum = spectrumOf(A, { engine, extent, name: subject.name, seed, ...known })
  assertInRange([spectrum.singularValues, [spectrum.frobenius]], { file: job.path, tensor: subject.name })
  return { spectrum, engine: engine.name }
}

const nonFinite = (name: string, file: string, { count, first }: NonFiniteEntries): NonFinite => ({
  name,
  file,
  count,
  first: { row: first.row + 1, column: first.column + 1, value: String(first.value) },
})

/** The floor, and the rank above it as a range that holds what all singular values would give: lower bounds of them raise the floor. */
export function noiseFindings(
  spectrum: Spectrum,
  { floor, spread, changedShare, isSubUlp }: Omit<NoiseFloor, 'edge'>,
): NoiseFindings {
  const { rows, columns, frobenius } = spectrum
  const energy = frobenius ** 2
  const settledBy = (count: keyof IntegerRange, left: keyof IntegerRange) =>
    settledFloor(
      { floor, spread },
      {
        rows,
        columns,
        energy,
        above: (floor) => rankAbove(spectrum, floor)[count],
        tail: (r) => energy * errorAt(spectrum, r)[left] ** 2,
      },
    )
  const settled = settledBy('atLeast', 'atMost')
  const lowest = spectrum.complete ? settled : settledBy('atMost', 'atLeast')
  return {
    floor: settled,
    rankAbove: {
      atLeast: rankAbove(spectrum, settled).atLeast,
      atMost: rankAbove(spectrum, lowest).atMost,
    },
    changedShare,
    isSubUlp,
  }
}

/** Nothing is known to be noise where most entries did not move, and nothing stands out of what is left of the change. */
export const isNotUnderstood = ({ isSubUlp, rankAbove }: NoiseFindings): boolean =>
  isSubUlp && rankAbove.atMost === 0

/** The rank above the noise, where it says something of the change. */
export const ranksAboveNoise = (noise: NoiseFindings): IntegerRange | undefined =>
  isNotUnderstood(noise) ? undefined : noise.rankAbove
