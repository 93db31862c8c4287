import { LoraSvdError } from '../../errors.ts'
import { epsilonOf } from '../matrix/matrix.ts'
import { largestAbs } from '../matrix/norms.ts'
import { add, dot } from '../matrix/vector.ts'
import { type Block, rowOf } from './kernels.ts'
import { makeReflector } from './qr.ts'

/**
 * QR steps allowed for a singular value, on average: two or so are usual, but where they fall evenly over many magnitudes the first of the small
 * ones takes hundreds, in which all of them come near.
 */
const MAX_STEPS = 30
/** As of tridiagonal-ql.ts: entries below this fraction of the largest count as zero, and so do those of a matrix that is all this small. */
const VANISHING = epsilonOf.f64 / 4
const SMALLEST = 2 ** -480

/**
 * The singular values, non-increasing, of the matrix whose columns are the rows of X [n, m], n ≤ m, which is destroyed: QR where it is much
 * longer than wide (Chan 1982), reflectors from both sides to a bidiagonal matrix (Golub and Kahan 1965; LAPACK xGEBD2), and implicit QR
 * steps on that (Golub and Reinsch 1970). |error| ≤ p·eps·S(0). Unblocked, row by row: for matrices that a cache holds. Entries are about 1
 * or less. Throws LoraSvdError 'no-convergence' after 30·n steps.
 */
export function singularValues(X: Block): Float64Array {
  const n = X.rows
  const d = new Float64Array(n)
  const e = new Float64Array(n)
  const long = isLong(n, X.columns)
  if (long) triangularise(X)
  bidiagonalise(X, long ? n : X.columns, d, e)
  const failed = bidiagonalQr(d, e.subarray(0, n - 1))
  if (failed >= 0) throw valueNotFound(failed, n)
  return fallingMagnitudes(d)
}

/** Whether a matrix with sides n ≤ m is so long that its triangle comes first. */
export const isLong = (n: number, m: number): boolean => 2 * m >= 3 * n

export const valueNotFound = (l: number, n: number) =>
  new LoraSvdError(
    'no-convergence',
    `singular value ${l} of ${n} did not converge in ${MAX_STEPS * n} QR steps; check the matrix for entries that are not finite`,
  )

/** What the QR steps leave, without signs and in order. */
export function fallingMagnitudes(d: Float64Array): Float64Array {
  for (let i = 0; i < d.length; i++) d[i] = Math.abs(d[i])
  return d.sort().reverse()
}

/** X ← L with X = L·Q. */
function triangularise(X: Block): void {
  for (let i = 0; i < X.rows; i++) {
    const v = rowOf(X, i, i)
    const tau = makeReflector(v)
    const diagonal = v[0]
    v[0] = 1
    for (let j = i + 1; j < X.rows; j++) reflect(rowOf(X, j, i), v, tau)
    v.fill(0)
    v[0] = diagonal
  }
}

/** The first `columns` columns of X made lower bidiagonal: d its diagonal [n], e what is below it [n − 1]. */
function bidiagonalise(X: Block, columns: number, d: Float64Array, e: Float64Array): void {
  const n = X.rows
  for (let i = 0; i < n; i++) {
    const row = rowOf(X, i, i, columns)
    const right = makeReflector(row)
    d[i] = row[0]
    row[0] = 1
    for (let j = i + 1; j < n; j++) reflect(rowOf(X, j, i, columns), row, right)
    const below = n - i - 1
    if (below === 0) return
    const u = new Float64Array(below)
    for (let j = 0; j < below; j++) u[j] = X.data[X.offset + (i + 1 + j) * X.stride + i]
    const left = makeReflector(u)
    e[i] = u[0]
    u[0] = 1
    const w = new Float64Array(columns - i - 1)
    for (let j = 0; j < below; j++) add(u[j], rowOf(X, i + 1 + j, i + 1, columns), w)
    for (let j = 0; j < below; j++) add(-left * u[j], w, rowOf(X, i + 1 + j, i + 1, columns))
  }
}

/** y ← y − tau·(y·v)·v. */
function reflect(y: Float64Array, v: Float64Array, tau: number): void {
  add(-tau * dot(y, v), v, y)
}

/**
 * The singular values, of either sign and in no order, of a bidiagonal matrix, in place: `d` [n] its diagonal, `e` [n − 1] what is beside
 * it, which is destroyed. Gives the index of a value that did not converge, −1 where all did.
 */
export function bidiagonalQr(d: Float64Array, e: Float64Array): number {
  const n = d.length
  // The values are found from the bottom up, and soonest when the small ones are there: B turned by half a circle is a transpose.
  if (n > 0 && Math.abs(d[0]) < Math.abs(d[n - 1])) {
    d.reverse()
    e.reverse()
  }
  const vanishing = Math.max(SMALLEST, VANISHING * Math.max(largestAbs(d), largestAbs(e)))
  let steps = MAX_STEPS * n
  for (let last = n - 1; last > 0; last--) {
    for (;;) {
      const first = startOfBlock(d, e, last, vanishing)
      if (first === last) break
      if (--steps < 0) return last
      qrStep(d, e, first, last)
    }
  }
  return -1
}

/** The first index of the unreduced block that ends at `last`, once what belongs to a diagonal entry of zero is cleared. */
function startOfBlock(d: Float64Array, e: Float64Array, last: number, vanishing: number): number {
  if (Math.abs(d[last]) <= vanishing) clearColumn(d, e, last, vanishing)
  let first = last
  while (first > 0) {
    const size = Math.abs(e[first - 1])
    const beside = Math.abs(d[first - 1]) + Math.abs(d[first])
    if (size <= epsilonOf.f64 * beside || size <= vanishing) break
    if (Math.abs(d[first - 1]) <= vanishing) {
      clearRow(d, e, first - 1, last, vanishing)
      break
    }
    first--
  }
  return first
}

/** Where d(row) is zero, rotations with the rows below make e(row) zero too. */
function clearRow(d: Float64Array, e: Float64Array, row: number, last: number, vanishing: number): void {
  let f = e[row]
  d[row] = 0
  e[row] = 0
  for (let j = row + 1; j <= last && Math.abs(f) > vanishing; j++) {
    const g = d[j]
    const r = Math.sqrt(f * f + g * g)
    d[j] = r
    if (j === last) return
    f = (-f / r) * e[j]
    e[j] *= g / r
  }
}

/** Where d(last) is zero, rotations with the columns before make e(last − 1) zero too. */
function clearColumn(d: Float64Array, e: Float64Array, last: number, vanishing: number): void {
  let f = e[last - 1]
  d[last] = 0
  e[last - 1] = 0
  for (let j = last - 1; j >= 0 && Math.abs(f) > vanishing; j--) {
    const g = d[j]
    const r = Math.sqrt(f * f + g * g)
    d[j] = r
    if (j === 0) return
    f = (-f / r) * e[j - 1]
    e[j - 1] *= g / r
  }
}

/** One implicit QR sweep from `first` down to `last`, with the eigenvalue of the last 2 × 2 of B·Bᵀ that is nearer to its end as shift. */
function qrStep(d: Float64Array, e: Float64Array, first: number, last: number): void {
  const dn = d[last]
  const dm = d[last - 1]
  const em = e[last - 1]
  const b = ((dm + dn) * (dm - dn) + em * em) / 2
  const c = dn * em * (dn * em)
  const root = Math.sqrt(b * b + c)
  const shift = root === 0 ? 0 : c / (b < 0 ? b - root : b + root)
  const d0 = d[first]
  let f = (d0 + dn) * (d0 - dn) + shift
  let g = d0 * e[first]
  let dj = d0
  for (let j = first; j < last; j++) {
    let r = Math.sqrt(f * f + g * g)
    let cosine = r === 0 ? 1 : f / r
    let sine = r === 0 ? 0 : g / r
    if (j > first) e[j - 1] = r
    const ej = e[j]
    const dk = d[j + 1]
    f = cosine * dj + sine * ej
    const e1 = cosine * ej - sine * dj
    g = sine * dk
    const d1 = cosine * dk
    r = Math.sqrt(f * f + g * g)
    cosine = r === 0 ? 1 : f / r
    sine = r === 0 ? 0 : g / r
    d[j] = r
    f = cosine * e1 + sine * d1
    dj = cosine * d1 - sine * e1
    if (j + 1 < last) {
      const ek = e[j + 1]
      g = sine * ek
      e[j + 1] = cosine * ek
    }
  }
  d[last] = dj
  e[last - 1] = f
}
