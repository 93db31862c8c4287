import { refuseNonFinite } from '../checkpoint/read.ts'
import type { MatrixPair } from '../checkpoint/types.ts'
import { differenceBytes, type StoredDifference, withDifference } from '../delta/difference.ts'
import type { JobContext } from '../jobs/worker.ts'
import type { Engine } from '../linalg/engine.ts'
import { assertInRange } from '../linalg/matrix/finite.ts'
import { epsilonOf, floatType, type Matrix, transpose, zeros } from '../linalg/matrix/matrix.ts'
import type { MatrixRule, RankLimits, RankRule } from '../linalg/spectrum/rules.ts'
import { errorAllowed } from '../linalg/spectrum/rules.ts'
import type { Spectrum } from '../linalg/spectrum/spectrum.ts'
import type { TruncatedSvd, TruncationOptions } from '../linalg/truncation/truncated-svd.ts'
import { truncatedSvd } from '../linalg/truncation/truncated-svd.ts'
import type { Formation } from '../linalg/weighting/weigh.ts'
import { rootBytes, rootFlops, rootOfMoments } from '../moments/root.ts'
import type { LayerMoments } from '../moments/types.ts'
import { besideSpectrum } from './beside.ts'
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
import { type Directions, plainSubject, type Subject, weighedSubject } from './subject.ts'

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
  /** Of the layer's inputs, which then weigh its columns. */
  readonly moments?: LayerMoments
  /** As messages call the checkpoints. */
  readonly basePath: string
  readonly tunedPath: string
}

/** Ranks tried at most beyond the one that holds the error before the factors are rounded. */
const MOST_EXTRA_RANKS = 4

/** Up to this short side the plain optimum is computed beside the weighed one; beyond, it is only bounded, at a small part of the cost. */
const BESIDE_UP_TO = 256

/** Errors that aren't correlated add by their squares: one of this share of another changes it by half a millionth. */
const FELT_FORMATION = 1000

/** The flops of a job, in the measure by which engines are chosen. */
export function flopsOf({ pair: { tuned }, ask, moments }: LayerJob): number {
  const { rows, columns } = tuned
  const order = Math.min(rows, columns)
  const plain = rows * columns * basisOf(ask, order)
  if (moments === undefined) return plain
  return plain + rootFlops(moments, moments.side === 'rows' ? columns : rows)
}

/** Products of the matrix with as many columns as the rank that finding, bounding and measuring the triplets takes. */
const SWEEPS = 8
/** What rules that look for a rank mostly end at. */
const ADAPTIVE_RANK = 64

/** The columns of all those products together. */
const basisOf = ({ rule }: RankRequest, order: number): number =>
  Math.min(order, SWEEPS * ((rule.kind === 'rank' ? rule.rank : ADAPTIVE_RANK) + 8))

/** The most memory that a job takes at one time. */
export function bytesOf({ pair, ask, moments }: LayerJob): number {
  const { rows, columns } = pair.tuned
  const order = Math.min(rows, columns)
  const basis = basisOf(ask, order)
  const square = 2 * basis > order ? 4 * 8 * order * order + 8 * rows * columns : 0
  const weighing = moments === undefined ? 0 : rootBytes(moments) + 3 * 8 * rows * columns
  return differenceBytes(pair) + 4 * rows * columns + 3 * 8 * (rows + columns) * basis + square + weighing
}

/**
 * The leading singular triplets of tuned − base that are asked for. Throws LoraSvdError 'not-finite', naming the tensor and
 * the first entry, on NaN and infinity.
 */
export async function extractLayer(job: LayerJob, context: JobContext): Promise<LayerResult> {
  const start = performance.now()
  const withNoise = job.ask.rule.kind === 'noise-floor'
  const engine = () => context.engine(flopsOf(job))
  const result = await withDifference(job.pair, { withNoise, engine }, (found) => factor(found, job, context))
  return { ...result, seconds: (performance.now() - start) / 1000 }
}

async function factor(
  { delta, digest, frobenius, nonFinite, noise, quantised }: StoredDifference,
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
  const plain = plainSubject(delta, frobenius.delta, engine, digest)
  if (rule.kind !== 'noise-floor') {
    if (frobenius.delta === 0) return { ...common, ...zeroLayer(delta) }
    if (job.moments !== undefined) {
      return { ...common, ...(await weighedLayer(plain, job.moments, { rule, limits }, job, engine)) }
    }
    return { ...common, ...tripletsOf(plain, decompose(plain, { rule, limits }, job, engine)) }
  }
  // integers aren't rounded, so that nothing of their change is noise
  if (frobenius.delta === 0) return { ...common, ...zeroLayer(delta), noiseFloor: noise?.floor ?? 0 }
  const truncate = (rule: RankRule, limits: RankLimits) => truncation(plain, rule, limits, job, engine)
  const { found, floor, isNotUnderstood } = aboveNoise(truncate, noise, delta, frobenius.delta, limits)
  return {
    ...common,
    ...tripletsOf(plain, withMeasure(plain, found, job)),
    noiseFloor: floor,
    ...(isNotUnderstood && { isNotUnderstood }),
  }
}

/** The same in the norm that inputs feel, with what the plain one says of the very factors. */
async function weighedLayer(
  plain: Subject,
  moments: LayerMoments,
  ask: { readonly rule: MatrixRule; readonly limits: RankLimits },
  job: LayerJob,
  engine: Engine,
) {
  const root = await rootOfMoments(moments, engine)
  const isUnit = root.kind === 'unit'
  const isOfRows = moments.side === 'rows'
  const subjectFormed = (formed: Formation) => {
    const subject = isUnit ? plain : weighedSubject(plain, root, isOfRows, engine, formed)
    assertInRange([[subject.frobenius]], { file: moments.path, tensor: moments.name })
    return subject
  }
  let subject = subjectFormed('float32')
  let decomposed = decompose(subject, ask, job, engine)
  if (isFormationFelt(subject, decomposed.found)) {
    subject = subjectFormed('wide')
    decomposed = decompose(subject, ask, job, engine)
  }
  const { kind, samples, inputs } = moments
  const facts = {
    ...{ kind, inputs, floored: isUnit ? 0 : root.floored },
    ...(samples !== undefined && { samples }),
  }
  const result = tripletsOf(subject, decomposed)
  const spectrum = { ...result.spectrum, epsilon: epsilonOf[floatType(plain.matrix)] }
  if (isUnit) return { ...result, weighed: { ...facts, plain: spectrum } }
  const beside = plainBeside(plain, result, job, engine)
  return {
    ...result,
    spectrum,
    weighed: { ...facts, plain: beside },
  }
}

/** Whether what float32 made of Δ·R might be seen in the seventh digit of the error. */
const isFormationFelt = ({ formationError }: Subject, { optimalError }: TruncatedSvd): boolean =>
  formationError !== undefined && formationError() * FELT_FORMATION > optimalError.atLeast

/** What the plain norm has of Δ at the rank that was found. */
function plainBeside(
  { matrix, frobenius }: Subject,
  { U, V, lengths = [] }: Directions,
  { seed, pair, moments }: LayerJob,
  engine: Engine,
): Spectrum {
  const { rows, columns } = matrix
  const { name } = pair
  if (Math.min(rows, columns) <= BESIDE_UP_TO || U.columns === 0) {
    const rank = Math.max(1, U.columns)
    return spectrumOf(matrix, truncatedSvd(matrix, { kind: 'rank', rank }, { engine, name, seed, frobenius }))
  }
  const isOfRows = moments?.side === 'rows'
  const near = (isOfRows ? U : V).data.map((x, at) => x * lengths[at % lengths.length])
  const own = isOfRows ? transpose(matrix) : matrix
  const shape = { rows: own.columns, columns: lengths.length, data: near }
  return { ...besideSpectrum(engine, own as Matrix, frobenius, shape, name), rows, columns }
}

/** Triplets, and what their factors leave once they are stored, where that is known. */
interface Decomposed {
  readonly found: TruncatedSvd
  readonly measured?: MeasuredLayer
}

function truncation(
  { matrix, frobenius, digest }: Subject,
  rule: RankRule,
  limits: RankLimits,
  { certify, seed, pair, tunedPath }: LayerJob,
  engine: Engine,
): TruncatedSvd {
  const found = truncatedSvd(matrix, rule, {
    engine,
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

const withMeasure = (subject: Subject, found: TruncatedSvd, job: LayerJob): Decomposed => ({
  found,
  ...(job.isSettled && { measured: measure(subject, found, job) }),
})

function decompose(
  subject: Subject,
  { rule, limits }: { readonly rule: MatrixRule; readonly limits: RankLimits },
  job: LayerJob,
  engine: Engine,
): Decomposed {
  const truncate = (rule: RankRule, ranks = limits): Decomposed =>
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

/** What the factors as they will be stored leave, at the rank that the layer will have. */
function measure(subject: Subject, found: TruncatedSvd, job: LayerJob): MeasuredLayer {
  const { rule, limits } = job.ask
  const rank = ownRank(spectrumOf(subject.matrix, found), rule, limits)
  const [B, A] = storedFactors(subject, found, rank, job)
  return { rank, ...subject.residuals(found, B, A), digest: digestOf({ B, A }) }
}

function storedFactors(
  subject: Subject,
  found: TruncatedSvd,
  rank: number,
  { form }: LayerJob,
): [Matrix, Matrix] {
  const { U, V, lengths } = subject.directions(found)
  const { B, A } = factorsAsStored({ U, S: lengths ? Float64Array.from(lengths) : found.S, V }, rank, form)
  return [B, A]
}

function tripletsOf(subject: Subject, { found, measured }: Decomposed) {
  const { closed, reason } = found.certificate
  return {
    spectrum: spectrumOf(subject.matrix, found),
    ...subject.directions(found),
    ...(measured !== undefined && { measured }),
    ...(!closed && reason !== undefined && { openBecause: reason }),
  }
}

function spectrumOf(matrix: Matrix, found: TruncatedSvd): Spectrum {
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
