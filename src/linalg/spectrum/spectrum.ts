import type { Engine } from '../engine.ts'
import { widened } from '../matrix/half.ts'
import { epsilonOf, type HalfMatrix, type Matrix, toFloat64, transpose } from '../matrix/matrix.ts'
import { basisColumns, leadingValues } from '../truncation/leading-values.ts'
import { type Digested, streamKeys } from '../truncation/streams.ts'
import type { Interval } from '../truncation/truncated-svd.ts'
import { stableRank } from './ranks.ts'

export type { Interval } from '../truncation/truncated-svd.ts'

/** A closed range of integers; a known one has atLeast = atMost. */
export interface IntegerRange {
  readonly atLeast: number
  readonly atMost: number
}

/** How far what is given may be off because it was rounded. */
export interface Rounding {
  /** Of each Sᵢ, relative to ‖A‖_F. */
  readonly value: number
  /** Of ΣSᵢ², relative to ‖A‖_F². */
  readonly squares: number
}

/** What is known of the singular values σ of a matrix A [rows, columns]. */
export interface Spectrum {
  readonly rows: number
  readonly columns: number
  /** ‖A‖_F. */
  readonly frobenius: number
  /**
   * The leading singular values, non-increasing. Where `complete`, those that are not given are zero: of a product of
   * factors of rank r there are r. Else each is at most the true σ, within `rounding`.
   */
  readonly singularValues: Float64Array
  readonly complete: boolean
  /** Upper bounds of the true σ of each that is given, non-increasing; where they are left out, σᵢ² − Sᵢ² is at most the excess. */
  readonly upper?: Float64Array
  /** At least Σ(σᵢ² − Sᵢ²) / ‖A‖_F² over the singular values that are given; 0 where complete. */
  readonly excess: number
  /** The same over the first r of them, at [r], non-decreasing; where it is left out `excess` holds for every r. */
  readonly excesses?: Float64Array
  /** Where it is left out, as little as float64 sums are off. */
  readonly rounding?: Rounding
  /** The first singular value that is not given; both 0 where complete. */
  readonly next: Interval
  /** eps of the float type that the entries have: 2⁻²³ for f32 and below, 2⁻⁵² for f64. */
  readonly epsilon: number
  /** `factors`: from the factors of a product B·A; `full` and `krylov` as of the truncated SVD. */
  readonly method: 'full' | 'krylov' | 'factors'
  /** What the bounds hold by: a proof, or a proof but for this probability. */
  readonly failureProbability: number
}

/** What one rank for all matrices would take and leave. */
export interface RankCost {
  readonly rank: number
  /** Entries of all factors; a matrix of lower order gets its order. */
  readonly parameters: number
  /** In the dtype each matrix is stored in. */
  readonly bytes: number
  /** √(Σ squared errors / Σ ‖·‖_F²) over the model, of the best approximations. */
  readonly relativeError: Interval
}

/** Up to this order all values take no longer than the leading ones. */
const ALWAYS_FULL_ORDER = 256
/** A basis of this share of the order takes as long as all values. */
const FULL_FROM_SHARE = 1 / 3
/** Width of the interval of the error at rank `count`: invisible in a picture and in three digits. */
const GOAL = 0.02

/** Which singular values are wanted: all, or the largest `count` of them. */
export type SpectrumExtent = { readonly kind: 'full' } | { readonly kind: 'leading'; readonly count: number }

export interface SpectrumOptions extends Digested {
  readonly engine: Engine
  readonly extent: SpectrumExtent
  /** The tensor's name, which gives each matrix its own random stream, whatever the order of work. */
  readonly name?: string
  readonly seed?: bigint | number
  /** How many singular values exceed this is to be decided, such as a noise floor; absolute. */
  readonly floor?: number
  /** ‖A‖_F where it is known already, from sums in float64. */
  readonly frobenius?: number | undefined
}

/**
 * The singular values of A [m, k], all of them or the leading ones with bounds on the rest; all of them too where that
 * takes no longer. Same seed and name, same bits. Throws LoraSvdError 'not-finite' on NaN and infinity.
 */
export function spectrumOf(A: Matrix | HalfMatrix, options: SpectrumOptions): Spectrum {
  const { engine, extent, name = '', seed = 0 } = options
  const order = Math.min(A.rows, A.columns)
  const isFull = extent.kind === 'full' || isSoonFull(order, extent.count)
  const about = { rows: A.rows, columns: A.columns, epsilon: epsilonOfData(A) }
  if (isFull) return { ...about, ...completeSpectrum(engine.svd(widened(A), 'none').S), method: 'full' }
  const { S, excesses, ...leading } = leadingValues(A, Math.max(1, extent.count), {
    engine,
    keys: streamKeys(A, seed, name, options),
    goal: GOAL,
    frobenius: options.frobenius,
    ...(options.floor === undefined ? {} : { floor: options.floor }),
  })
  return {
    ...about,
    ...leading,
    singularValues: S,
    complete: leading.frobenius === 0,
    excess: excesses[S.length],
    excesses,
    method: 'krylov',
  }
}

const isSoonFull = (order: number, count: number): boolean =>
  order <= ALWAYS_FULL_ORDER || basisColumns(count) > FULL_FROM_SHARE * order

/**
 * The singular values of scale·B·A, B [m, r] and A [r, k], without forming the product: QR of both factors, then the SVD of
 * the small product of their triangles, in float64. |error| ≤ p·ε·|scale|·‖B‖₂·‖A‖₂, ε = 2⁻⁵³. At most r values; the others are 0.
 * Throws RangeError where the shapes don't fit, LoraSvdError 'not-finite' on NaN and infinity.
 */
export function spectrumOfFactors(
  B: Matrix | HalfMatrix,
  A: Matrix | HalfMatrix,
  scale: number,
  engine: Engine,
): Spectrum {
  const core = engine.multiply(triangleOf(widened(B), engine), triangleOf(transpose(widened(A)), engine), {
    transposeB: true,
  })
  const S = engine.svd(core, 'none').S.map((s) => s * Math.abs(scale))
  return {
    rows: B.rows,
    columns: A.columns,
    epsilon: Math.max(epsilonOfData(B), epsilonOfData(A)),
    ...completeSpectrum(S),
    method: 'factors',
  }
}

const epsilonOfData = (A: Matrix | HalfMatrix): number =>
  'dtype' in A || A.data instanceof Float32Array ? epsilonOf.f32 : epsilonOf.f64

/** R with XᵀX = RᵀR: X itself where it has no more rows than columns. */
const triangleOf = (X: Matrix, engine: Engine): Matrix => (X.rows > X.columns ? engine.qr(X).R : toFloat64(X))

const completeSpectrum = (S: Float64Array) => ({
  frobenius: (S[0] ?? 0) * Math.sqrt(stableRank(S)),
  singularValues: S,
  complete: true,
  excess: 0,
  next: { atLeast: 0, atMost: 0 },
  failureProbability: 0,
})
