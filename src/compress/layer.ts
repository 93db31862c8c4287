import { refuseNonFinite } from '../checkpoint/read.ts'
import { type StoredDifference, withDifference } from '../delta/difference.ts'
import type { JobContext } from '../jobs/worker.ts'
import type { Engine } from '../linalg/engine.ts'
import { assertInRange } from '../linalg/matrix/finite.ts'
import { epsilonOf, floatType, type Matrix, transpose, zeros } from '../linalg/matrix/matrix.ts'
import type { MatrixRule, RankLimits, RankRule } from '../linalg/spectrum/rules.ts'
import type { Spectrum } from '../linalg/spectrum/spectrum.ts'
import type { TruncatedSvd } from '../linalg/truncation/truncated-svd.ts'
import { truncatedSvd } from '../linalg/truncation/truncated-svd.ts'
import type { Formation } from '../linalg/weighting/weigh.ts'
import { rootOfMoments } from '../moments/root.ts'
import type { LayerMoments } from '../moments/types.ts'
import { besideSpectrum } from './beside.ts'
import { decompose, spectrumOf, tripletsOf, truncation, withMeasure } from './decompose.ts'
import { flopsOf, type LayerJob } from './layer-job.ts'
import { aboveNoise, type LayerResult } from './layer-result.ts'
import { type Directions, plainSubject, type Subject, weighedSubject } from './subject.ts'

/** Up to this short side the plain optimum is computed beside the weighed one; beyond, it is only bounded, at a small part of the cost. */
const BESIDE_UP_TO = 256

/** Errors that aren't correlated add by their squares: one of this share of another changes it by half a millionth. */
const FELT_FORMATION = 1000

/**
 * The leading singular triplets of tuned − base that are asked for. Throws LoraSvdError 'not-finite', naming the tensor and
 * the first entry, on NaN and infinity.
 */
export async function extractLayer(job: LayerJob, context: JobContext): Promise<LayerResult> {
  const start = performance.now()
  const withNoise = job.ask.rule.kind === 'noise-floor'
  const engine = await context.engine(flopsOf(job))
  const result = await withDifference(job.pair, { withNoise, engine }, (found) => factor(found, job, engine))
  return { ...result, seconds: (performance.now() - start) / 1000 }
}

async function factor(
  { delta, digest, frobenius, nonFinite, noise, quantised }: StoredDifference,
  job: LayerJob,
  engine: Engine,
): Promise<Omit<LayerResult, 'seconds'>> {
  const { pair, ask } = job
  refuseNonFinite(job.tunedPath, pair.name, nonFinite.tuned)
  refuseNonFinite(job.basePath, pair.name, nonFinite.base)
  assertInRange([[frobenius.base, frobenius.tuned, frobenius.delta]], {
    file: job.tunedPath,
    tensor: pair.name,
  })
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
