import { refuseNonFinite } from '../checkpoint/read.ts'
import type { MatrixPair } from '../checkpoint/types.ts'
import { differenceBytes, type StoredDifference, withDifference } from '../delta/difference.ts'
import type { JobContext } from '../jobs/worker.ts'
import type { Engine } from '../linalg/engine.ts'
import { assertInRange } from '../linalg/matrix/finite.ts'
import { epsilonOf, type Matrix, zeros } from '../linalg/matrix/matrix.ts'
import { isSquarable, relativeResidual } from '../linalg/matrix/norms.ts'
import type { MatrixRule, RankLimits, RankRule } from '../linalg/spectrum/rules.ts'
import { errorAllowed } from '../linalg/spectrum/rules.ts'
import type { Spectrum } from '../linalg/spectrum/spectrum.ts'
import type { TruncatedSvd, TruncationOptions } from '../linalg/truncation/truncated-svd.ts'
import { truncatedSvd } from '../linalg/truncation/truncated-svd.ts'
import {
  aboveNoise,
  digestOf,
  type FactorForm,
  factorsAsStored,
  type LayerResult,
  type MeasuredLayer,
  ownRank,
  type RankRequest,
} from './layer-result.ts'

/** What a worker is asked: plain data. */
export interface LayerJob {
  readonly pair: MatrixPair
  readonly ask: RankRequest
  readonly certify: NonNullable<TruncationOptions['certify']>
  readonly seed: bigint
  /** Of the factors that will be written. */
  readonly form: FactorForm
  /** The rank will be this layer's own, whatever the others have: what will be stored can be measured at once. */
  readonly isSettled: boolean
  /** As messages call the checkpoints. */
  readonly basePath: string
  readonly tunedPath: string
}

/** Ranks tried at most beyond the one that holds the error before the factors are rounded. */
const MOST_EXTRA_RANKS = 4

/** The flops of a job, in the measure by which engines are chosen. */
export function flopsOf({ pair: { tuned }, ask }: LayerJob): number {
  const { rows, columns } = tuned
  const order = Math.min(rows, columns)
  return rows * columns * basisOf(ask, order)
}

/** Products of the matrix with as many columns as the rank that finding, bounding and measuring the triplets takes. */
const SWEEPS = 8
/** What rules that look for a rank mostly end at. */
const ADAPTIVE_RANK = 64

/** The columns of all those products together. */
const basisOf = ({ rule }: RankRequest, order: number): number =>
  Math.min(order, SWEEPS * ((rule.kind === 'rank' ? rule.rank : ADAPTIVE_RANK) + 8))

/** The most memory that a job takes at one time. */
export function bytesOf({ pair, ask }: LayerJob): number {
  const { rows, columns } = pair.tuned
  const order = Math.min(rows, columns)
  const basis = basisOf(ask, order)
  const square = 2 * basis > order ? 4 * 8 * order * order + 8 * rows * columns : 0
  return differenceBytes(pair) + 4 * rows * columns + 3 * 8 * (rows + columns) * basis + square
}

/**
 * The leading singular triplets of tuned − base that are asked for. Throws LoraSvdError 'not-finite', naming the tensor and
 * the first entry, on NaN and infinity.
 */
export async function extractLayer(job: LayerJob, context: JobContext): Promise<LayerResult> {
  const start = performance.now()
  const withNoise = job.ask.rule.kind === 'noise-floor'
  const result = await withDifference(job.pair, { withNoise }, (found) => factor(found, job, context))
  return { ...result, seconds: (performance.now() - start) / 1000 }
}

async function factor(
  { delta, frobenius, nonFinite, noise, quantised }: StoredDifference,
  job: LayerJob,
  context: JobContext,
): Promise<Omit<LayerResult, 'seconds'>> {
  const { pair, ask } = job
  refuseNonFinite(job.tunedPath, pair.name, nonFinite.tuned)
  refuseNonFinite(job.basePath, pair.name, nonFinite.base)
  assertInRange([[frobenius.base, frobenius.tuned, frobenius.delta]], {
    file: job.tunedPath,
    tensor: pair.name,
  })
  const engine = await context.engine(flopsOf(job))
  const common = {
    ...{ name: pair.name, asked: ask, baseFrobenius: frobenius.base, engine: engine.name },
    ...(quantised !== undefined && { quantised }),
  }
  const { rule, limits } = ask
  if (rule.kind !== 'noise-floor') {
    if (frobenius.delta === 0) return { ...common, ...zeroLayer(delta) }
    return {
      ...common,
      ...tripletsOf(delta, decompose(delta, frobenius.delta, { rule, limits }, job, engine)),
    }
  }
  // integers aren't rounded, so that nothing of their change is noise
  if (frobenius.delta === 0) return { ...common, ...zeroLayer(delta), noiseFloor: noise?.floor ?? 0 }
  const truncate = (rule: RankRule, limits: RankLimits) =>
    truncation(delta, frobenius.delta, rule, limits, job, engine)
  const { found, floor, isNotUnderstood } = aboveNoise(truncate, noise, delta, frobenius.delta, limits)
  return {
    ...common,
    ...tripletsOf(delta, withMeasure(delta, found, job, engine)),
    noiseFloor: floor,
    ...(isNotUnderstood && { isNotUnderstood }),
  }
}

/** Triplets, and what their factors leave of the delta once they are stored, where that is known. */
interface Decomposed {
  readonly found: TruncatedSvd
  readonly measured?: MeasuredLayer
}

function truncation(
  delta: Matrix,
  frobenius: number,
  rule: RankRule,
  limits: RankLimits,
  { certify, seed, pair, tunedPath }: LayerJob,
  engine: Engine,
): TruncatedSvd {
  const found = truncatedSvd(delta, rule, { engine, limits, name: pair.name, seed, certify, frobenius })
  assertInRange([found.S, [found.frobenius]], { file: tunedPath, tensor: pair.name })
  return found
}

const withMeasure = (delta: Matrix, found: TruncatedSvd, job: LayerJob, engine: Engine): Decomposed => ({
  found,
  ...(job.isSettled && { measured: measure(delta, found, job, engine) }),
})

function decompose(
  delta: Matrix,
  frobenius: number,
  { rule, limits }: { readonly rule: MatrixRule; readonly limits: RankLimits },
  job: LayerJob,
  engine: Engine,
): Decomposed {
  const truncate = (rule: RankRule, ranks = limits): Decomposed =>
    withMeasure(delta, truncation(delta, frobenius, rule, ranks, job, engine), job, engine)
  const first = truncate(rule)
  const allowed = errorAllowed(rule)
  const holds = ({ found, measured }: Decomposed) =>
    measured === undefined || measured.residual <= allowed * found.frobenius
  if (holds(first)) return first
  const { maxRank = Number.POSITIVE_INFINITY, multipleOf = 1 } = limits
  const most = Math.min(maxRank, delta.rows, delta.columns)
  for (let i = 1; i <= MOST_EXTRA_RANKS; i++) {
    const rank = first.found.rank + i * multipleOf
    if (rank > most) break
    const more = truncate({ kind: 'rank', rank }, {})
    if (holds(more)) return more
  }
  // where no rank within reach makes up for the rounding, more of them would only be waste
  return first
}

/** ‖Δ − B·A‖_F of the factors as they will be stored, at the rank that the layer will have. */
function measure(delta: Matrix, found: TruncatedSvd, { ask, form }: LayerJob, engine: Engine): MeasuredLayer {
  const { rule, limits } = ask
  const rank = ownRank(spectrumOf(delta, found), rule, limits)
  const { B, A } = factorsAsStored(found, rank, form)
  if (!isSquarable(found.frobenius)) {
    const residual = relativeResidual(delta, B, A) * found.frobenius
    return { rank, residual, digest: digestOf({ B, A }) }
  }
  const resident = engine.resident(delta)
  try {
    return { rank, residual: Math.sqrt(resident.residualSquared(B, A)), digest: digestOf({ B, A }) }
  } finally {
    resident.release()
  }
}

function tripletsOf(delta: Matrix, { found, measured }: Decomposed) {
  const { U, V, certificate } = found
  const { closed, reason } = certificate
  return {
    spectrum: spectrumOf(delta, found),
    U,
    V,
    ...(measured !== undefined && { measured }),
    ...(!closed && reason !== undefined && { openBecause: reason }),
  }
}

function spectrumOf(delta: Matrix, found: TruncatedSvd): Spectrum {
  const { S, frobenius, optimalError, certificate, method } = found
  return {
    rows: delta.rows,
    columns: delta.columns,
    frobenius,
    singularValues: S,
    complete: S.length === Math.min(delta.rows, delta.columns),
    excess: optimalError.atMost ** 2 - optimalError.atLeast ** 2,
    next: certificate.spectral,
    epsilon: epsilonOf[delta.data instanceof Float64Array ? 'f64' : 'f32'],
    method,
    failureProbability: certificate.failureProbability,
  }
}

/** Of matrices that are equal in number, though not in bytes. */
function zeroLayer({ rows, columns }: Matrix) {
  const none = new Float64Array(0)
  const spectrum: Spectrum = {
    rows,
    columns,
    frobenius: 0,
    singularValues: none,
    complete: true,
    excess: 0,
    next: { atLeast: 0, atMost: 0 },
    epsilon: epsilonOf.f32,
    method: 'full',
    failureProbability: 0,
  }
  return { spectrum, U: zeros(rows, 0), V: zeros(columns, 0) }
}
