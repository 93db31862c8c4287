import type { Engine } from '../linalg/engine.ts'
import { assertInRange } from '../linalg/matrix/finite.ts'
import { epsilonOf, type Matrix } from '../linalg/matrix/matrix.ts'
import type { MatrixRule, RankLimits, RankRule } from '../linalg/spectrum/rules.ts'
import { errorAllowed } from '../linalg/spectrum/rules.ts'
import type { Spectrum } from '../linalg/spectrum/spectrum.ts'
import type { TruncatedSvd, TruncationOptions } from '../linalg/truncation/truncated-svd.ts'
import { truncatedSvd } from '../linalg/truncation/truncated-svd.ts'
import { fittedFactors } from './fitted-factors.ts'
import type { LayerJob } from './layer-job.ts'
import { digestOf, directionsOf, factorsAsStored, type MeasuredLayer, ownRank } from './layer-result.ts'
import { type Directions, type Residuals, residualOf, type Subject } from './subject.ts'

/** Ranks tried at most beyond the one that holds the error before the factors are rounded. */
const MOST_EXTRA_RANKS = 4

/** What was found, what factors are made of, and what these leave once they are stored, where that is known. */
export interface Decomposed {
  readonly found: TruncatedSvd
  readonly directions: Directions
  readonly measured?: MeasuredLayer
}

export function truncation(
  { matrix, frobenius, digest }: Subject,
  rule: RankRule,
  limits: RankLimits,
  { certify, seed, pair, tunedPath }: LayerJob,
  engine: Engine,
  vectors: TruncationOptions['vectors'] = 'both',
): TruncatedSvd {
  const found = truncatedSvd(matrix, rule, {
    engine,
    vectors,
    limits,
    name: pair.name,
    seed,
    certify,
    frobenius,
    digest,
  })
  assertInRange([found.S, [found.frobenius]], { file: tunedPath, tensor: pair.name })
  return found
}

export function withMeasure(subject: Subject, found: TruncatedSvd, job: LayerJob): Decomposed {
  const directions = subject.directions(found)
  if (!job.isSettled) return { found, directions }
  const residuals = (B: Matrix, A: Matrix) => subject.residuals(found, B, A)
  return { found, directions, measured: measure(subject.matrix, { found, directions }, residuals, job) }
}

export function decompose(
  subject: Subject,
  { rule, limits }: { readonly rule: MatrixRule; readonly limits: RankLimits },
  job: LayerJob,
  engine: Engine,
): Decomposed {
  const truncate = (rule: RankRule, ranks = limits): Decomposed =>
    fitted(subject, rule, ranks, job, engine) ??
    withMeasure(subject, truncation(subject, rule, ranks, job, engine), job)
  const first = truncate(rule)
  const allowed = errorAllowed(rule)
  const holds = ({ found, measured }: Decomposed) =>
    measured === undefined || measured.residual <= allowed * found.frobenius
  if (holds(first)) return first
  const { maxRank = Number.POSITIVE_INFINITY, multipleOf = 1 } = limits
  const most = Math.min(maxRank, subject.matrix.rows, subject.matrix.columns)
  for (let i = 1; i <= MOST_EXTRA_RANKS; i++) {
    const rank = first.found.rank + i * multipleOf
    if (rank > most) break
    const more = truncate({ kind: 'rank', rank }, {})
    if (holds(more)) return more
  }
  // where no rank within reach makes up for the rounding, more of them would only be waste
  return first
}

/**
 * Where the rank is given and Δ is large, only the short factor is made of singular vectors: the other is the best there is to its stored numbers,
 * which takes a product in float64 less. Undefined where that isn't to be had.
 */
function fitted(
  subject: Subject,
  rule: RankRule,
  limits: RankLimits,
  job: LayerJob,
  engine: Engine,
): Decomposed | undefined {
  const { matrix, frobenius } = subject
  if (!job.isSettled || !subject.isFittable) return undefined
  const found = truncation(subject, rule, limits, job, engine, 'short side')
  if (!found.isRough) return withMeasure(subject, found, job)
  const factors = fittedFactors(engine, matrix, frobenius, found, job.form)
  if (factors === undefined) return undefined
  const { U, V, S } = factors
  const left = frobenius ** 2 - S.reduce((sum, s) => sum + s * s, 0)
  const atMost = Math.sqrt(left) / frobenius
  const optimalError = { atLeast: Math.min(found.optimalError.atLeast, atMost), atMost }
  const better = { ...found, S, optimalError }
  const directions = { U, V }
  const residuals = (B: Matrix, A: Matrix) => ({
    residual: factors.residual(B, A) ?? residualOf(matrix, frobenius, B, A, engine),
  })
  return {
    found: better,
    directions,
    measured: measure(matrix, { found: better, directions }, residuals, job),
  }
}

/** What the factors as they will be stored leave, at the rank that the layer will have. */
function measure(
  matrix: Matrix,
  { found, directions }: Pick<Decomposed, 'found' | 'directions'>,
  residuals: (B: Matrix, A: Matrix) => Residuals,
  { ask, form }: LayerJob,
): MeasuredLayer {
  const spectrum = spectrumOf(matrix, found)
  const rank = ownRank(spectrum, ask.rule, ask.limits)
  const { B, A } = factorsAsStored(directionsOf({ ...directions, spectrum }), rank, form)
  return { rank, ...residuals(B, A), digest: digestOf({ B, A }) }
}

export function tripletsOf(subject: Subject, { found, directions, measured }: Decomposed) {
  const { closed, reason } = found.certificate
  return {
    spectrum: spectrumOf(subject.matrix, found),
    ...directions,
    ...(measured !== undefined && { measured }),
    ...(!closed && reason !== undefined && { openBecause: reason }),
  }
}

export function spectrumOf(matrix: Matrix, found: TruncatedSvd): Spectrum {
  const { S, frobenius, optimalError, certificate, method } = found
  return {
    rows: matrix.rows,
    columns: matrix.columns,
    frobenius,
    singularValues: S,
    complete: S.length === Math.min(matrix.rows, matrix.columns),
    excess: optimalError.atMost ** 2 - optimalError.atLeast ** 2,
    next: certificate.spectral,
    epsilon: epsilonOf[matrix.data instanceof Float64Array ? 'f64' : 'f32'],
    method,
    failureProbability: certificate.failureProbability,
  }
}
