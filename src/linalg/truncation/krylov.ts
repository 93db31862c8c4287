import type { Engine, HalfMatrix, ResidentMatrix, Room } from '../engine.ts'
import { requireFinite } from '../matrix/finite.ts'
import { widened } from '../matrix/half.ts'
import {
  type Float64Matrix,
  type FloatArray,
  type FloatType,
  type Matrix,
  matrix,
  rowRange,
  toFloat64,
  transpose,
} from '../matrix/matrix.ts'
import { jacobiSvd } from '../svd/jacobi.ts'
import { scaleByPowerOfTwo, scalingExponent } from '../svd/scaling.ts'
import { type Arithmetic, columnRange, lastColumnsFirst } from './columns.ts'
import { asRows, bordered, type GrowingRows, withColumns } from './growing-rows.ts'
import { orthonormalize } from './orthonormalize.ts'
import type { Draw } from './streams.ts'

/**
 * A seen from its short side: X ↦ A·X for a tall A, Aᵀ·X for a wide one, so that methods which work on the short side
 * know one shape only. Everything is of 2^−exponent · A.
 */
export interface Operator {
  readonly long: number
  readonly short: number
  readonly isWide: boolean
  /** Power of two taken out so that no square over- or underflows; 0 for data of ordinary size. */
  readonly exponent: number
  /** Precision of the data: float32 for float32 and half data. */
  readonly precision: Arithmetic
  readonly frobenius: number
  /** A product with fewer columns takes hardly less time. */
  readonly leastColumns: number
  /** As `ResidentMatrix.room`: for what is multiplied again and again. */
  room(type: FloatType, length: number): Room
  /** X [short, b] → [long, b], in the float type of X. */
  forward(X: Matrix): Matrix
  /** Y [long, b] → [short, b], in the float type of Y. */
  backward(Y: Matrix): Matrix
  /** ‖A − L·Sᵀ‖_F² for L [long, r], S [short, r]; with the sides exchanged for a wide A. */
  residualSquared(L: Matrix, S: Matrix): number
  release(): void
}

/** Data whose squares sum to something in here are multiplied as they are; 2^±60 leaves float32 room for products of both kinds. */
const PLAIN_SQUARES: Readonly<Record<Arithmetic, readonly [number, number]>> = {
  f32: [2 ** -60, 2 ** 60],
  f64: [2 ** -400, 2 ** 400],
}

/**
 * Puts A where the engine works on it, scaled where its size asks for it. `norm` is ‖A‖_F where that is known from sums in
 * float64. Throws LoraSvdError 'not-finite'.
 */
export function shortSideOperator(
  engine: Pick<Engine, 'resident'>,
  A: Matrix | HalfMatrix,
  norm?: number,
): Operator {
  const precision = !('dtype' in A) && A.data instanceof Float64Array ? 'f64' : 'f32'
  const resident = engine.resident(A)
  const squares = norm === undefined ? resident.frobeniusSquared() : norm * norm
  const [least, most] = PLAIN_SQUARES[precision]
  if (squares >= least && squares <= most) return operator(resident, precision, 0, squares)
  resident.release()
  const wide = widened(A)
  requireFinite(wide)
  const exponent = scalingExponent(wide.data)
  const rescaled = engine.resident(scaledBy(wide, -exponent))
  return operator(rescaled, precision, exponent, rescaled.frobeniusSquared())
}

function operator(A: ResidentMatrix, precision: Arithmetic, exponent: number, squares: number): Operator {
  const isWide = A.rows < A.columns
  return {
    long: Math.max(A.rows, A.columns),
    short: Math.min(A.rows, A.columns),
    isWide,
    exponent,
    precision,
    frobenius: Math.sqrt(squares),
    leastColumns: A.leastColumns,
    room: A.room,
    forward: isWide ? A.multiplyTransposed : A.multiply,
    backward: isWide ? A.multiply : A.multiplyTransposed,
    residualSquared: (L, S) =>
      isWide ? A.residualSquared(S, transpose(L)) : A.residualSquared(L, transpose(S)),
    release: A.release,
  }
}

/** 2^e · A in A's float type: exact where e brings the largest entry near 1. */
export function scaledBy(A: Matrix, e: number): Matrix {
  if (e === 0) return A
  const data = Float64Array.from(A.data)
  scaleByPowerOfTwo(data, e)
  const stored: FloatArray = A.data instanceof Float32Array ? Float32Array.from(data) : data
  return matrix(A.rows, A.columns, stored)
}

/** Order up to which Jacobi beats the routes through a tridiagonal matrix: the core is nearly diagonal, two sweeps do. */
const JACOBI_ORDER = 160

/** The singular triplets of A on a subspace: A·V·Vᵀ = left·diag(S)·rightᵀ, left [long, r], S [r], right [short, r]. */
export interface Triplets {
  readonly left: Float64Matrix
  readonly S: Float64Array
  readonly right: Float64Matrix
}

/**
 * The SVD of A·V·Vᵀ in float64 from V [short, r], orthonormal, and W = A·V [long, r]: orthonormalize W = Q·R, decompose
 * the small R. `draw` completes Q where W has fewer than r independent columns.
 */
export function tripletsOn(
  engine: Pick<Engine, 'multiply' | 'gram' | 'svd'>,
  V: Float64Matrix,
  W: Matrix,
  draw: Draw,
): Triplets {
  const Q = orthonormalize(engine, toFloat64(W), [], draw).basis
  const R = engine.multiply(Q, W, { transposeA: true })
  const core = R.rows <= JACOBI_ORDER ? jacobiSvd(R) : engine.svd(R, 'thin')
  return {
    left: toFloat64(engine.multiply(Q, core.U)),
    S: core.S,
    right: toFloat64(engine.multiply(V, core.V)),
  }
}

export type KrylovEngine = Pick<Engine, 'multiply' | 'gram' | 'symmetricEigen'>

/** A basis that has grown by blocks, V [short, l] orthonormal and W = A·V [long, l], with their columns as rows. */
export interface KrylovBasis {
  /** Vᵀ [l, short]. */
  readonly V: GrowingRows
  /** Wᵀ [l, long]. */
  readonly W: GrowingRows
  /** WᵀW [l, l], in float64. */
  readonly gram: Float64Matrix
  /** The block of W that came last, as columns. */
  readonly lastImage: Matrix
  /** ‖AᵀA·V − …‖ of what was left out as rounding error when the blocks were made orthonormal. */
  readonly lost: number
}

/** What AᵀA leads to beyond a basis V: AᵀA·V(last block) = V·(…) + block·coupling, block orthonormal and orthogonal to V. */
export interface KrylovStep {
  readonly block: Matrix
  readonly coupling: Float64Matrix
  /** The length of what neither V nor the block holds. */
  readonly lost: number
}

/**
 * Ritz pairs of AᵀA on a basis V: values θ, non-increasing, and vectors V·C. Column i of `residuals` holds AᵀA·v(i) −
 * θ(i)·v(i) in the basis of the next block: zero rows for a basis that fills the space.
 */
export interface RitzPairs {
  readonly theta: Float64Array
  readonly vectors: Float64Matrix
  readonly residuals: Float64Matrix
}

/** The basis of one orthonormal block. */
export function startBasis(engine: Pick<Engine, 'gram'>, A: Operator, block: Matrix): KrylovBasis {
  const lastImage = A.forward(block)
  return {
    V: asRows(A, block),
    W: asRows(A, lastImage),
    gram: engine.gram(lastImage),
    lastImage,
    lost: 0,
  }
}

/**
 * One step of the block Lanczos process with full re-orthogonalization (Golub and Underwood 1977; with a random start
 * Musco and Musco 2015): what lies beyond the basis, which also tells how far its Ritz pairs are from singular
 * triplets. The result is orthogonal to `deflated` as well, orthonormal vectors as rows: then the process is that of A restricted to their complement.
 * `refill` draws columns for directions that run out.
 */
export function nextBlock(
  engine: KrylovEngine,
  A: Operator,
  { V, lastImage }: KrylovBasis,
  refill: (columns: number) => Matrix,
  deflated: readonly Matrix[] = [],
): KrylovStep {
  const Z = A.backward(lastImage)
  const { basis, lost } = orthonormalize(engine, Z, [...deflated, V.rows], refill)
  return { block: basis, coupling: toFloat64(engine.multiply(basis, Z, { transposeA: true })), lost }
}

/** The basis with one more block. */
export function extendBasis(
  engine: Pick<Engine, 'gram' | 'multiply'>,
  A: Operator,
  { V, W, gram, lost }: KrylovBasis,
  step: KrylovStep,
): KrylovBasis {
  const { block } = step
  const lastImage = A.forward(block)
  const beside = engine.multiply(W.rows, toFloat64(lastImage))
  return {
    V: withColumns(A, V, block),
    W: withColumns(A, W, lastImage),
    gram: bordered(gram, beside, engine.gram(lastImage)),
    lastImage,
    lost: lost + step.lost,
  }
}

/** Rayleigh–Ritz in float64 on WᵀW. */
export function ritzPairs(
  engine: KrylovEngine,
  { gram, lastImage }: KrylovBasis,
  coupling: Float64Matrix,
): RitzPairs {
  const { values, vectors } = engine.symmetricEigen(gram, 'thin')
  const l = values.length
  const descending = lastColumnsFirst(vectors, l)
  const last = rowRange(descending, l - lastImage.columns, l)
  return {
    theta: values.map((value) => Math.max(0, value)).reverse(),
    vectors: descending,
    residuals: toFloat64(engine.multiply(coupling, last)),
  }
}

/** The first `count` Ritz vectors, [short, count] in float64, orthonormal to rounding. */
export function leadingRitzVectors(
  engine: KrylovEngine,
  { V }: KrylovBasis,
  { vectors }: RitzPairs,
  count: number,
  refill: (columns: number) => Matrix,
): Float64Matrix {
  const rotated = toFloat64(engine.multiply(V.rows, columnRange(vectors, 0, count), { transposeA: true }))
  return toFloat64(orthonormalize(engine, rotated, [], refill).basis)
}

/** A block drawn by `draw` and made orthonormal. */
export function startBlock(
  engine: KrylovEngine,
  short: number,
  columns: number,
  draw: (columns: number) => Matrix,
): Matrix {
  return orthonormalize(engine, draw(Math.min(columns, short)), [], draw).basis
}
