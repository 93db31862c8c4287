import type { Engine } from '../engine/engine.ts'
import { type Float64Matrix, type Matrix, zeros } from '../matrix/matrix.ts'
import {
  type Arithmetic,
  arithmeticOf,
  besideColumns,
  columnSquares,
  difference,
  inArithmetic,
} from './columns.ts'

export type BlockEngine = Pick<Engine, 'multiply' | 'gram'>

/** The distance of 1 to the next number of a float type. */
export const EPSILON: Readonly<Record<Arithmetic, number>> = { f32: 2 ** -23, f64: 2 ** -52 }
/** A column that projection shrinks below this many epsilons of itself is rounding error. */
const NOISE_EPSILONS = 10
/** Squared sine of the angle to the other columns below which a column counts as dependent: what a float64 Gram matrix still resolves. */
const DEPENDENT = 1e-12
/** Where no column loses more than half of its square in a pass, what rounding left is orthogonal ("twice is enough", Kahan and Parlett). */
const SETTLED = 0.5
/** Two passes do for data in general position; each refill needs two more. */
const MAX_PASSES = 8

/**
 * An orthonormal basis, [n, b] in the float type of X [n, b], of the columns of X less their parts in the span of the
 * orthonormal bases `against`: projection and Cholesky QR (Gram in float64), both repeated until they change nothing.
 * Columns that vanish or depend on others are replaced by what `refill` draws, so that the basis has b columns,
 * or as many as the space has room for. A column that is orthogonal to the others already stays where it is.
 */
export function orthonormalize(
  engine: BlockEngine,
  X: Matrix,
  against: readonly Matrix[],
  refill: (columns: number) => Matrix,
): Matrix {
  const room = X.rows - against.reduce((sum, V) => sum + V.columns, 0)
  const wanted = Math.max(0, Math.min(X.columns, room))
  const arithmetic = arithmeticOf(X)
  const noise = (NOISE_EPSILONS * EPSILON[arithmetic]) ** 2
  let floors = columnSquares(X).map((square) => square * noise)
  let Y = X
  for (let pass = 0; pass < MAX_PASSES && wanted > 0; pass++) {
    for (const V of against) Y = difference(Y, projection(engine, V, Y))
    const { transform, smallestPivot } = choleskyBasis(engine.gram(Y), floors, wanted)
    Y = engine.multiply(Y, inArithmetic(transform, arithmetic))
    const missing = wanted - Y.columns
    if (missing > 0) Y = besideColumns(Y, refill(missing))
    else if (pass > 0 && smallestPivot > SETTLED) return Y
    floors = new Float64Array(wanted)
  }
  return wanted > 0 ? Y : inArithmetic(zeros(X.rows, 0), arithmetic)
}

/** V·(Vᵀ·Y). */
function projection(engine: BlockEngine, V: Matrix, Y: Matrix): Matrix {
  return engine.multiply(V, engine.multiply(V, Y, { transposeA: true }))
}

/**
 * The T [b, k] for which Y·T is orthonormal, from G = YᵀY by Cholesky with diagonal pivoting on unit columns: k ≤ `most`
 * columns that are longer than the square root of their floor and independent. The smallest pivot is that of Y itself.
 */
function choleskyBasis(
  G: Float64Matrix,
  floors: Float64Array,
  most: number,
): { transform: Float64Matrix; smallestPivot: number } {
  const b = G.rows
  const lengths = Float64Array.from({ length: b }, (_, j) => {
    const square = G.data[j * b + j]
    return square > floors[j] ? Math.sqrt(square) : 0
  })
  // Row i of L belongs to column i of Y; column k to the k-th pivot.
  const L = new Float64Array(b * b)
  const left = Float64Array.from(lengths, (length) => (length > 0 ? 1 : 0))
  const pivots: number[] = []
  let smallestPivot = Number.POSITIVE_INFINITY
  while (pivots.length < most) {
    const p = left.reduce((best, value, j) => (value > left[best] ? j : best), 0)
    if (!(left[p] > DEPENDENT)) break
    const k = pivots.length
    const root = Math.sqrt(left[p])
    smallestPivot = Math.min(smallestPivot, left[p] * lengths[p] ** 2)
    for (let i = 0; i < b; i++) {
      if (!(left[i] > 0)) continue
      let sum = G.data[i * b + p] / (lengths[i] * lengths[p])
      for (let j = 0; j < k; j++) sum -= L[i * b + j] * L[p * b + j]
      L[i * b + k] = i === p ? root : sum / root
      left[i] -= L[i * b + k] ** 2
    }
    left[p] = 0
    pivots.push(p)
  }
  return { transform: inverseTransform(L, lengths, pivots), smallestPivot }
}

/** D·P·R⁻¹ for the triangle Rᵀ in the pivot rows of L and D the inverse lengths; columns in the order of Y's. */
function inverseTransform(L: Float64Array, lengths: Float64Array, pivots: readonly number[]): Float64Matrix {
  const b = lengths.length
  const k = pivots.length
  const inverse = new Float64Array(k * k)
  for (let j = 0; j < k; j++) {
    inverse[j * k + j] = 1 / L[pivots[j] * b + j]
    for (let i = j - 1; i >= 0; i--) {
      let sum = 0
      for (let c = i + 1; c <= j; c++) sum += L[pivots[c] * b + i] * inverse[c * k + j]
      inverse[i * k + j] = -sum / L[pivots[i] * b + i]
    }
  }
  const T = zeros(b, k)
  const place = pivots.map((pivot) => pivots.filter((other) => other < pivot).length)
  for (let i = 0; i < k; i++) {
    for (let j = i; j < k; j++) T.data[pivots[i] * k + place[j]] = inverse[i * k + j] / lengths[pivots[i]]
  }
  return T
}
