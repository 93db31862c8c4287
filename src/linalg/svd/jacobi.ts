import { LoraSvdError } from '../../errors.ts'
import { type Float64Matrix, identity, type Matrix, transpose, zeros } from '../matrix/matrix.ts'
import { largestAbs } from '../matrix/norms.ts'
import type { Kernels } from './kernels.ts'
import { completeBasis } from './qr.ts'
import { fixSigns, scaleByPowerOfTwo, scalingExponent, timesPowerOfTwo } from './scaling.ts'
import type { Svd, Vectors } from './svd.ts'

/** Convergence is quadratic at the end and takes 6 to 14 sweeps in practice; more means a defect or non-finite data. */
const MAX_SWEEPS = 30
/** Squares below the smallest normal double lose digits, so columns shorter than its root can't be compared by dot products. */
const SMALLEST_COMPARABLE = 2 ** -511
/** Rows that are smaller than the largest entry by more than two to this power carry one of their own, so that their squares don't vanish. */
const PLAIN_SPAN = 400
/** Rows that differ in length by more than two to this power: beside the long one's squares the short one's are nothing. */
const FAR_APART = 400
/** Above this the tangent's formula would square out of range, and 1/(2ζ) is exact to rounding. */
const LARGE_ZETA = 1e8

/**
 * The thin SVD by one-sided Jacobi rotations in float64 (Hestenes 1958; pivoting of de Rijk 1989): columns are
 * rotated in pairs until all are orthogonal, then their lengths are the singular values. Small singular values
 * of column-scaled matrices come out with high relative accuracy (Demmel & Veselić 1992), whatever the scales. Cost about
 * 10·m·n² to 20·m·n² flops on the short side n, so it serves small matrices and as the oracle of other routes.
 *
 * A [m, k] → U [m, n], S [n] non-increasing, V [k, n], n = min(m, k); U and V have no entries for 'none'. The
 * largest |entry| of each left vector is positive. Throws LoraSvdError 'no-convergence' after 30 sweeps, which
 * finite data don't reach.
 */
export function jacobiSvd(
  A: Matrix,
  vectors: Vectors = 'thin',
  kernels?: Pick<Kernels, 'orthogonalize'>,
): Svd {
  const isWide = A.rows < A.columns
  const exponent = scalingExponent(A.data)
  // Work holds the columns of the tall side as contiguous rows.
  const work = float64Copy(isWide ? A : transpose(A))
  const exponents = scaleRows(work, exponent)
  const rotations = vectors === 'none' ? null : identity(work.rows)
  if (kernels !== undefined && exponents.every((own) => own === 0)) kernels.orthogonalize(work, rotations)
  else orthogonalizeRows(work, exponents, rotations)

  const lengths = Float64Array.from({ length: work.rows }, (_, j) => rowNorm(work, j))
  const values = lengths.map((length, j) => timesPowerOfTwo(length, exponents[j] + exponent))
  const order = Array.from(lengths.keys()).sort(
    (i, j) => values[j] - values[i] || lengths[j] - lengths[i] || i - j,
  )
  const S = Float64Array.from(order, (j) => values[j])
  if (rotations === null) return { U: zeros(0, 0), S, V: zeros(0, 0) }

  const long = unitColumns(work, lengths, order)
  const short = transpose(pickRows(rotations, order))
  const [U, V] = isWide ? [short, long] : [long, short]
  fixSigns(U, V)
  return { U, S, V }
}

/**
 * Rotates the rows of `work` in pairs, in place, until every pair is orthogonal to working precision, applying
 * the same rotations to `rotations`. Row j stands for 2^exponents[j] times itself.
 */
export function orthogonalizeRows(
  work: Float64Matrix,
  exponents: Int32Array,
  rotations: Float64Matrix | null,
): void {
  const { rows: n, columns: m } = work
  const tolerance = Math.sqrt(m) * Number.EPSILON
  const squares = new Float64Array(n)
  for (let sweep = 0; sweep < MAX_SWEEPS; sweep++) {
    for (let j = 0; j < n; j++) squares[j] = dotRows(work, j, j)
    let rotated = false
    for (let p = 0; p < n - 1; p++) {
      const longest = indexOfLongest(squares, exponents, p)
      if (longest !== p) {
        for (const side of [work, rotations]) if (side !== null) swapRows(side, p, longest)
        for (const of of [squares, exponents]) [of[p], of[longest]] = [of[longest], of[p]]
      }
      for (let q = p + 1; q < n; q++) {
        const dot = dotRows(work, p, q)
        const limit = tolerance * Math.sqrt(squares[p]) * Math.sqrt(squares[q])
        if (Math.abs(dot) <= limit || squares[q] === 0) continue
        rotated = true
        const apart = exponents[q] - exponents[p]
        const { tangent, fromP, fromQ } = rotationOf(squares[p], squares[q], dot, apart)
        rotateRows(work, p, q, tangent, fromP, fromQ)
        if (rotations !== null) rotateRows(rotations, p, q, tangent, tangent, tangent)
        squares[p] = Math.max(0, squares[p] - fromQ * dot)
        squares[q] = Math.max(0, squares[q] + fromP * dot)
      }
    }
    if (!rotated) return
  }
  throw jacobiFailed(n, m)
}

/** What n rows of m entries that don't become orthogonal are reported as. */
export const jacobiFailed = (n: number, m: number) =>
  new LoraSvdError('no-convergence', `Jacobi SVD of ${m}×${n} did not converge in ${MAX_SWEEPS} sweeps`)

/**
 * Multiplies the rows by 2^−exponent, in place, those that are then too short for their squares by a power of their own. Gives
 * the exponents of 2 by which the rows are too long beside the others.
 */
function scaleRows(work: Float64Matrix, exponent: number): Int32Array {
  const exponents = new Int32Array(work.rows)
  for (let j = 0; j < work.rows; j++) {
    const row = rowAt(work, j)
    const own = scalingExponent(row)
    const isShort = own < exponent - PLAIN_SPAN && largestAbs(row) > 0
    if (isShort) exponents[j] = own - exponent
    scaleByPowerOfTwo(row, isShort ? -own : -exponent)
  }
  return exponents
}

const rowAt = ({ columns, data }: Float64Matrix, j: number) => data.subarray(j * columns, (j + 1) * columns)

interface Rotation {
  /** Tangent of the angle of rotation. */
  readonly tangent: number
  /** What row q takes of row p as they are stored, and p of q: the tangent times the power of two between them. */
  readonly fromP: number
  readonly fromQ: number
}

/** The rotation that makes two rows orthogonal, p the longer one, for q stored as 2^−apart times itself beside p. */
function rotationOf(squareP: number, squareQ: number, dot: number, apart: number): Rotation {
  if (apart === 0) {
    const tangent = rotationTangent((squareQ - squareP) / (2 * dot))
    return { tangent, fromP: tangent, fromQ: tangent }
  }
  if (apart < -FAR_APART) {
    const fromP = -dot / squareP
    return { tangent: timesPowerOfTwo(fromP, apart), fromP, fromQ: 0 }
  }
  const power = 2 ** apart
  const tangent = rotationTangent((squareQ * power - squareP / power) / (2 * dot))
  return { tangent, fromP: tangent / power, fromQ: tangent * power }
}

/** The smaller root t of t² + 2ζt − 1 = 0: the tangent of the angle that makes two columns orthogonal. */
function rotationTangent(zeta: number): number {
  if (Math.abs(zeta) > LARGE_ZETA) return 1 / (2 * zeta)
  return (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta))
}

/** Rows p and q ← cos·(p − fromQ·q) and cos·(q + fromP·p). */
function rotateRows(
  A: Float64Matrix,
  p: number,
  q: number,
  tangent: number,
  fromP: number,
  fromQ: number,
): void {
  const { columns, data } = A
  const cosine = 1 / Math.sqrt(1 + tangent * tangent)
  const [sineP, sineQ] = [cosine * fromP, cosine * fromQ]
  for (let i = p * columns, j = q * columns, end = i + columns; i < end; i++, j++) {
    const x = data[i]
    const y = data[j]
    data[i] = cosine * x - sineQ * y
    data[j] = sineP * x + cosine * y
  }
}

function dotRows(A: Float64Matrix, p: number, q: number): number {
  const { columns, data } = A
  let even = 0
  let odd = 0
  let i = p * columns
  let j = q * columns
  for (const end = i + columns - 1; i < end; i += 2, j += 2) {
    even += data[i] * data[j]
    odd += data[i + 1] * data[j + 1]
  }
  return columns % 2 === 1 ? even + odd + data[i] * data[j] : even + odd
}

function swapRows(A: Float64Matrix, p: number, q: number): void {
  const { columns, data } = A
  const copy = data.slice(p * columns, (p + 1) * columns)
  data.copyWithin(p * columns, q * columns, (q + 1) * columns)
  data.set(copy, q * columns)
}

/** The first of the longest rows from `from` on. */
function indexOfLongest(squares: Float64Array, exponents: Int32Array, from: number): number {
  let best = from
  for (let i = from + 1; i < squares.length; i++) {
    const apart = exponents[i] - exponents[best]
    const square = apart === 0 ? squares[i] : timesPowerOfTwo(squares[i], 2 * apart)
    if (square > squares[best]) best = i
  }
  return best
}

/** The length of a row, right also where its squares underflow. */
function rowNorm(A: Float64Matrix, j: number): number {
  const row = A.data.slice(j * A.columns, (j + 1) * A.columns)
  const exponent = scalingExponent(row)
  scaleByPowerOfTwo(row, -exponent)
  let sum = 0
  for (let i = 0; i < row.length; i++) sum += row[i] * row[i]
  return timesPowerOfTwo(Math.sqrt(sum), exponent)
}

/** Rows of `work` in `order` as orthonormal columns; rows too short to have been compared get a completed basis. */
function unitColumns(work: Float64Matrix, lengths: Float64Array, order: number[]): Float64Matrix {
  const { columns: m, data } = work
  const n = order.length
  const U = zeros(m, n)
  let known = 0
  for (; known < n && lengths[order[known]] > SMALLEST_COMPARABLE; known++) {
    const start = order[known] * m
    for (let i = 0; i < m; i++) U.data[i * n + known] = data[start + i] / lengths[order[known]]
  }
  completeBasis(U, known)
  return U
}

function pickRows(A: Float64Matrix, order: number[]): Float64Matrix {
  const { columns, data } = A
  const out = zeros(order.length, columns)
  order.forEach((row, i) => {
    out.data.set(data.subarray(row * columns, (row + 1) * columns), i * columns)
  })
  return out
}

const float64Copy = ({ rows, columns, data }: Matrix): Float64Matrix => ({
  rows,
  columns,
  data: Float64Array.from(data),
})
