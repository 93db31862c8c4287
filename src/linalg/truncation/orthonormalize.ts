import type { Engine } from '../engine.ts'
import { epsilonOf, type Float64Matrix, floatType, type Matrix, transpose, zeros } from '../matrix/matrix.ts'
import { besideColumns, columnSquares, columnsAt, difference, inArithmetic } from './columns.ts'

export type BlockEngine = Pick<Engine, 'multiply' | 'gram'>

/** A column that projection shrinks below this many epsilons of itself is rounding error. */
const NOISE_EPSILONS = 10
/** Squared sine of the angle to the other columns below which a column counts as dependent: what a float64 Gram matrix still resolves. */
const DEPENDENT = 1e-12
/** Where no column loses more than half of its square in a pass, what rounding left is orthogonal ("twice is enough", Kahan and Parlett). */
const SETTLED = 0.5
/** One pass does for data in general position. */
const MOST_PASSES = 6
/** Each round resolves dependence a millionfold finer than the one before, or draws new columns. */
const MOST_ROUNDS = 8

/** An orthonormal basis of what X adds to other bases, and the length of what was left out as rounding error. */
export interface Orthonormalized {
  readonly basis: Matrix
  readonly lost: number
}

/**
 * An orthonormal basis, [n, b] in the float type of X [n, b], of the columns of X less their parts in the span of the
 * orthonormal bases `against`, which are rows: projection and Cholesky QR (Gram in float64), both repeated until they change nothing.
 * Columns that depend on others up to what a Gram matrix resolves are taken up again by themselves; those that are
 * rounding error are replaced by what `refill` draws, so that the basis has b columns, or as many as the space has room
 * for. A column that is orthogonal to the others already stays where it is.
 */
export function orthonormalize(
  engine: BlockEngine,
  X: Matrix,
  against: readonly Matrix[],
  refill: (columns: number) => Matrix,
): Orthonormalized {
  const room = X.rows - against.reduce((sum, V) => sum + V.rows, 0)
  const wanted = Math.max(0, Math.min(X.columns, room))
  const arithmetic = floatType(X)
  const noise = (NOISE_EPSILONS * epsilonOf[arithmetic]) ** 2
  let basis = inArithmetic(zeros(X.rows, 0), arithmetic)
  let rest = X
  let floors = columnSquares(X).map((square) => square * noise)
  let lost = 0
  for (let round = 0; basis.columns < wanted && round < MOST_ROUNDS; round++) {
    if (rest.columns === 0) {
      rest = refill(wanted - basis.columns)
      floors = new Float64Array(rest.columns)
    }
    const others = basis.columns > 0 ? [...against, transpose(basis) as Matrix] : against
    const Y = without(engine, rest, others)
    const G = engine.gram(Y)
    const { transform, taken, dependent, negligible } = choleskyBasis(G, floors, wanted - basis.columns)
    const found = engine.multiply(Y, inArithmetic(transform, arithmetic))
    const { columns, vanished } = settled(engine, found, others)
    for (const j of [...negligible, ...vanished.map((at) => taken[at])]) lost += G.data[j * Y.columns + j]
    if (columns.columns > 0) basis = basis.columns === 0 ? columns : besideColumns(basis, columns)
    rest = columnsAt(Y, dependent)
    floors = Float64Array.from(dependent, (j) => floors[j])
  }
  return { basis, lost: Math.sqrt(lost) }
}

/**
 * Q, nearly orthonormal, made so to rounding. Columns that a second pass makes much shorter again have no direction of their
 * own: rounding that is aligned with the other bases, as it is for a matrix of equal entries. They are left out.
 */
function settled(
  engine: BlockEngine,
  Q: Matrix,
  against: readonly Matrix[],
): { readonly columns: Matrix; readonly vanished: number[] } {
  let Y = Q
  let places = Array.from({ length: Q.columns }, (_, j) => j)
  for (let pass = 0; pass < MOST_PASSES && Y.columns > 0; pass++) {
    Y = without(engine, Y, against)
    const floors = new Float64Array(Y.columns).fill(pass === 0 ? 0 : SETTLED)
    const { transform, taken, smallestPivot } = choleskyBasis(engine.gram(Y), floors, Y.columns)
    const isWhole = taken.length === Y.columns
    Y = engine.multiply(Y, inArithmetic(transform, floatType(Y)))
    places = taken.map((j) => places[j])
    if (isWhole && smallestPivot > SETTLED) break
  }
  const kept = new Set(places)
  return { columns: Y, vanished: Array.from({ length: Q.columns }, (_, j) => j).filter((j) => !kept.has(j)) }
}

/** Y less its parts in the span of orthonormal bases. */
function without(engine: BlockEngine, Y: Matrix, bases: readonly Matrix[]): Matrix {
  return bases.reduce((rest, V) => difference(rest, projection(engine, V, rest)), Y)
}

/** V·(Vᵀ·Y), given Vᵀ. */
function projection(engine: BlockEngine, Vt: Matrix, Y: Matrix): Matrix {
  return engine.multiply(Vt, engine.multiply(Vt, Y), { transposeA: true })
}

interface CholeskyBasis {
  readonly transform: Float64Matrix
  readonly smallestPivot: number
  /** The columns of Y that are in it, ascending. */
  readonly taken: number[]
  /** Columns that depend on those taken. */
  readonly dependent: number[]
  /** Columns no longer than their floor. */
  readonly negligible: number[]
}

/**
 * The T [b, k] for which Y·T is orthonormal, from G = YᵀY by Cholesky with diagonal pivoting on unit columns: k ≤ `most`
 * columns that are longer than the square root of their floor and independent. The smallest pivot is that of Y itself.
 */
function choleskyBasis(G: Float64Matrix, floors: Float64Array, most: number): CholeskyBasis {
  const lengths = Float64Array.from({ length: G.rows }, (_, j) => {
    const square = G.data[j * G.rows + j]
    return square > floors[j] ? Math.sqrt(square) : 0
  })
  const { L, pivots, smallestPivot } = pivotedCholesky(G.data, lengths, most)
  const others = Array.from(lengths.keys()).filter((j) => !pivots.includes(j))
  return {
    transform: inverseTransform(L, lengths, pivots),
    smallestPivot,
    taken: [...pivots].sort((i, j) => i - j),
    dependent: others.filter((j) => lengths[j] > 0),
    negligible: others.filter((j) => lengths[j] === 0),
  }
}

/** L with G = D·L·Lᵀ·D in the rows that were taken: row i belongs to column i of Y, column k to the k-th pivot. */
function pivotedCholesky(G: Float64Array, lengths: Float64Array, most: number) {
  const b = lengths.length
  const L = new Float64Array(b * b)
  const left = Float64Array.from(lengths, (length) => (length > 0 ? 1 : 0))
  const pivots: number[] = []
  let smallestPivot = Number.POSITIVE_INFINITY
  while (pivots.length < most) {
    const p = placeOfLargest(left)
    if (!(left[p] > DEPENDENT)) break
    smallestPivot = Math.min(smallestPivot, left[p] * lengths[p] ** 2)
    eliminate(G, lengths, L, left, p, pivots.length)
    pivots.push(p)
  }
  return { L, pivots, smallestPivot }
}

function placeOfLargest(values: Float64Array): number {
  let best = 0
  for (let j = 1; j < values.length; j++) if (values[j] > values[best]) best = j
  return best
}

/** Column k of L, its pivot at p, and what is left of the squares of the columns of Y. A small function, since what is called often is compiled in each thread. */
function eliminate(
  G: Float64Array,
  lengths: Float64Array,
  L: Float64Array,
  left: Float64Array,
  p: number,
  k: number,
): void {
  const b = lengths.length
  const root = Math.sqrt(left[p])
  for (let i = 0; i < b; i++) {
    if (!(left[i] > 0)) continue
    let sum = G[i * b + p] / (lengths[i] * lengths[p])
    for (let j = 0; j < k; j++) sum -= L[i * b + j] * L[p * b + j]
    const entry = i === p ? root : sum / root
    L[i * b + k] = entry
    left[i] -= entry ** 2
  }
  left[p] = 0
}

/** D·P·R⁻¹ for the triangle Rᵀ in the pivot rows of L and D the inverse lengths; columns in the order of Y's. */
function inverseTransform(L: Float64Array, lengths: Float64Array, pivots: readonly number[]): Float64Matrix {
  const b = lengths.length
  const k = pivots.length
  const inverse = new Float64Array(k * k)
  for (let j = 0; j < k; j++) invertColumn(L, b, pivots, inverse, j)
  const T = zeros(b, k)
  const place = pivots.map((pivot) => pivots.filter((other) => other < pivot).length)
  for (const [i, pivot] of pivots.entries()) placeRow(T.data, pivot * k, place, inverse, i, lengths[pivot])
  return T
}

/** Row i of R⁻¹ over a length, its columns in their places, to the row of T that begins at `row`. */
function placeRow(
  T: Float64Array,
  row: number,
  place: readonly number[],
  inverse: Float64Array,
  i: number,
  length: number,
): void {
  const k = place.length
  for (let j = i; j < k; j++) T[row + place[j]] = inverse[i * k + j] / length
}

/** Column j of R⁻¹. */
function invertColumn(
  L: Float64Array,
  b: number,
  pivots: readonly number[],
  inverse: Float64Array,
  j: number,
): void {
  const k = pivots.length
  inverse[j * k + j] = 1 / L[pivots[j] * b + j]
  for (let i = j - 1; i >= 0; i--) {
    let sum = 0
    for (let c = i + 1; c <= j; c++) sum += L[pivots[c] * b + i] * inverse[c * k + j]
    inverse[i * k + j] = -sum / L[pivots[i] * b + i]
  }
}
