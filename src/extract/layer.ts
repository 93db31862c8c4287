import { readWeight } from '../checkpoint/read.ts'
import type { MatrixPair } from '../checkpoint/types.ts'
import type { Engine } from '../engine/engine.ts'
import type { FloatDtype } from '../formats/dtype.ts'
import { decodeFloats, encodeFloats, isHalf } from '../formats/dtype.ts'
import type { JobContext } from '../jobs/types.ts'
import { type HalfMatrix, type Matrix, zeros } from '../matrix/matrix.ts'
import { subtract } from '../matrix/subtract.ts'
import { epsilonOf } from '../rank/measures.ts'
import { isRounded, noiseFloor } from '../rank/noise-floor.ts'
import type { RankLimits, RankRule } from '../rank/rules.ts'
import type { Spectrum } from '../spectrum/types.ts'
import { balancedFactors } from '../svd/factors.ts'
import { truncatedSvd } from '../truncation/truncated-svd.ts'
import type { TruncatedSvd, TruncationOptions } from '../truncation/types.ts'
import { refuseNonFinite } from '../verify/non-finite.ts'
import type { LayerAsk, LayerResult } from './layer-result.ts'

/** What a worker is asked: plain data. */
export interface LayerJob {
  readonly pair: MatrixPair
  readonly ask: LayerAsk
  readonly certify: NonNullable<TruncationOptions['certify']>
  readonly seed: bigint
  /** Of the factors that will be written. */
  readonly dtype: FloatDtype
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
  const rank = ask.rule.kind === 'rank' ? ask.rule.rank : ADAPTIVE_RANK
  return rows * columns * Math.min(order, SWEEPS * (rank + 8))
}

/** Products of the matrix with as many columns as the rank that finding, bounding and measuring the triplets takes. */
const SWEEPS = 8
/** What rules that look for a rank mostly end at. */
const ADAPTIVE_RANK = 64

/** The most memory that a job takes at one time. */
export function bytesOf({ pair: { base, tuned }, ask }: LayerJob): number {
  const { rows, columns } = tuned
  const order = Math.min(rows, columns)
  const rank = ask.rule.kind === 'rank' ? ask.rule.rank : ADAPTIVE_RANK
  const basis = Math.min(order, SWEEPS * (rank + 8))
  const square = 2 * basis > order ? 4 * 8 * order * order + 8 * rows * columns : 0
  return base.bytes + tuned.bytes + 2 * 4 * rows * columns + 3 * 8 * (rows + columns) * basis + square
}

/**
 * The leading singular triplets of tuned − base that are asked for. Throws LoraSvdError 'not-finite', naming the tensor and
 * the first entry, on NaN and infinity.
 */
export async function extractLayer(job: LayerJob, context: JobContext): Promise<LayerResult> {
  const start = performance.now()
  const { pair, ask } = job
  const [tuned, base] = [await readWeight(pair.tuned), await readWeight(pair.base)]
  const difference = subtract(tuned, base)
  refuseNonFinite(job.tunedPath, pair.name, difference.nonFinite.tuned)
  refuseNonFinite(job.basePath, pair.name, difference.nonFinite.base)
  const { delta, frobenius } = difference
  const engine = await context.engine(flopsOf(job))
  const floor = ask.rule.kind === 'noise-floor' ? floorOf(pair, base, tuned) : undefined
  const found = frobenius.delta === 0 ? undefined : decompose(delta, job, floor, engine)
  return {
    name: pair.name,
    asked: ask,
    ...(found === undefined ? nothing(delta) : tripletsOf(delta, found)),
    baseFrobenius: frobenius.base,
    ...(floor !== undefined && { noiseFloor: floor }),
    engine: engine.name,
    seconds: (performance.now() - start) / 1000,
  }
}

/** Integers aren't rounded, so that nothing of their change is noise. */
function floorOf(
  { base, tuned }: MatrixPair,
  ofBase: Matrix | HalfMatrix,
  ofTuned: Matrix | HalfMatrix,
): number {
  if (!isRounded(base.dtype) || !isRounded(tuned.dtype)) return 0
  return noiseFloor({ matrix: ofBase, dtype: base.dtype }, { matrix: ofTuned, dtype: tuned.dtype }).floor
}

function decompose(delta: Matrix, job: LayerJob, floor: number | undefined, engine: Engine): TruncatedSvd {
  const { ask, certify, seed, pair, dtype } = job
  const { rule, limits } =
    floor === undefined ? (ask as { rule: RankRule; limits: RankLimits }) : aboveFloor(ask, floor)
  const truncate = (rule: RankRule, ranks = limits) =>
    truncatedSvd(delta, rule, { engine, limits: ranks, name: pair.name, seed, certify })
  const found = truncate(rule)
  const allowed = errorAllowed(rule)
  if (allowed === Number.POSITIVE_INFINITY || roundedError(delta, found, dtype, engine) <= allowed)
    return found
  const { maxRank = Number.POSITIVE_INFINITY, multipleOf = 1 } = limits
  const most = Math.min(maxRank, delta.rows, delta.columns)
  for (let i = 1; i <= MOST_EXTRA_RANKS; i++) {
    const rank = found.rank + i * multipleOf
    if (rank > most) break
    const more = truncate({ kind: 'rank', rank }, {})
    if (roundedError(delta, more, dtype, engine) <= allowed) return more
  }
  // where no rank within reach makes up for the rounding, more of them would only be waste
  return found
}

/** Nothing need stand above the floor. */
const aboveFloor = ({ limits }: LayerAsk, floor: number) => ({
  rule: { kind: 'noise-floor' as const, floor },
  limits: { minRank: 0, ...limits },
})

/** The relative error that a rule allows. */
export function errorAllowed(rule: LayerAsk['rule']): number {
  if (rule.kind === 'error') return rule.error
  return rule.kind === 'energy' ? Math.sqrt(1 - rule.energy) : Number.POSITIVE_INFINITY
}

/** ‖Δ − B·A‖_F / ‖Δ‖_F of the factors as they will be stored. */
function roundedError(delta: Matrix, found: TruncatedSvd, dtype: FloatDtype, engine: Engine): number {
  if (!isHalf(dtype)) return 0
  const { B, A } = balancedFactors(found, found.rank)
  const resident = engine.resident(delta)
  try {
    return Math.sqrt(resident.residualSquared(rounded(B, dtype), rounded(A, dtype))) / found.frobenius
  } finally {
    resident.release()
  }
}

const rounded = ({ rows, columns, data }: Matrix, dtype: FloatDtype): Matrix => ({
  rows,
  columns,
  data: decodeFloats(encodeFloats(data, dtype), dtype),
})

function tripletsOf(delta: Matrix, found: TruncatedSvd) {
  const { U, S, V, frobenius, optimalError, certificate, method } = found
  const spectrum: Spectrum = {
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
  const { closed, reason } = certificate
  return { spectrum, U, V, ...(!closed && reason !== undefined && { openBecause: reason }) }
}

/** Of matrices that are equal in number, though not in bytes. */
function nothing({ rows, columns }: Matrix) {
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
