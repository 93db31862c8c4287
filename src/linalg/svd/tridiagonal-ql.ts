import { LoraSvdError } from '../../errors.ts'
import { epsilonOf } from '../matrix/matrix.ts'
import { type Block, rowOf } from './kernels.ts'

/** QL steps allowed for one eigenvalue; two or three are usual (EISPACK and LAPACK stop at 30 as well). */
const MAX_STEPS = 30

/**
 * Off-diagonals below this fraction of the norm count as zero even beside smaller diagonals: without it the rounding
 * errors that a matrix of low rank consists of would be iterated upon, at no gain beyond eps·‖T‖.
 */
const VANISHING = epsilonOf.f64 / 4
/** So do those of a part whose entries are all this small: its products are subnormal numbers, which never settle. */
const SMALLEST = 2 ** -480

/**
 * Eigenvalues, unsorted, of a symmetric tridiagonal matrix by the implicit QL method (EISPACK imtql2, after Dubrulle,
 * Martin and Wilkinson 1968), in place: `d` [n] becomes the eigenvalues, `e` [n − 1] is destroyed. Entries are about 1 or less. Rows of `Z`, when
 * given, are rotated along, so rows of an identity become the eigenvectors. Without Z it takes O(n²).
 * Throws LoraSvdError 'no-convergence' after 30 steps for one eigenvalue.
 */
export function tridiagonalQl(d: Float64Array, e: Float64Array, Z?: Block): void {
  const n = d.length
  // QL finds the eigenvalues from the top down, and finds them soonest when the small ones are there.
  if (n > 0 && Math.abs(d[0]) > Math.abs(d[n - 1])) flip(d, e, Z)
  const vanishing = Math.max(SMALLEST, VANISHING * largestMagnitude(d, e))
  for (let l = 0; l < n; l++) {
    for (let step = 0; ; step++) {
      const m = endOfBlock(d, e, l, vanishing)
      if (m === l) break
      if (step === MAX_STEPS) throw eigenvalueNotFound(l, n)
      qlStep(d, e, l, m, Z)
    }
  }
}

export const eigenvalueNotFound = (l: number, n: number) =>
  new LoraSvdError(
    'no-convergence',
    `eigenvalue ${l} of ${n} did not converge in ${MAX_STEPS} QL steps; check the matrix for entries that are not finite`,
  )

/** Turns the matrix, and with it the rows of Z, upside down. */
function flip(d: Float64Array, e: Float64Array, Z: Block | undefined): void {
  d.reverse()
  e.reverse()
  for (let i = 0, j = d.length - 1; Z && i < j; i++, j--) {
    const row = rowOf(Z, i).slice()
    rowOf(Z, i).set(rowOf(Z, j))
    rowOf(Z, j).set(row)
  }
}

function largestMagnitude(d: Float64Array, e: Float64Array): number {
  let most = 0
  for (let i = 0; i < d.length; i++) most = Math.max(most, Math.abs(d[i]))
  for (let i = 0; i < e.length; i++) most = Math.max(most, Math.abs(e[i]))
  return most
}

/** The last index of the unreduced block that starts at `l`. */
function endOfBlock(d: Float64Array, e: Float64Array, l: number, vanishing: number): number {
  let m = l
  while (m < d.length - 1) {
    const size = Math.abs(e[m])
    if (size <= epsilonOf.f64 * (Math.abs(d[m]) + Math.abs(d[m + 1])) || size <= vanishing) break
    m++
  }
  return m
}

/** One implicit QL sweep from m up to l with Wilkinson's shift. */
function qlStep(d: Float64Array, e: Float64Array, l: number, m: number, Z: Block | undefined): void {
  const half = (d[l + 1] - d[l]) / (2 * e[l])
  const root = Math.sqrt(half * half + 1)
  let g = d[m] - d[l] + e[l] / (half + (half < 0 ? -root : root))
  let s = 1
  let c = 1
  let p = 0
  if (m < e.length) e[m] = 0
  for (let i = m - 1; i >= l; i--) {
    const f = s * e[i]
    const b = c * e[i]
    const r = Math.sqrt(f * f + g * g)
    if (i + 1 < m) e[i + 1] = r
    if (r === 0) {
      d[i + 1] -= p
      return
    }
    s = f / r
    c = g / r
    g = d[i + 1] - p
    const t = (d[i] - g) * s + 2 * c * b
    p = s * t
    d[i + 1] = g + p
    g = c * t - b
    if (Z) rotateRows(Z, i, c, s)
  }
  d[l] -= p
  e[l] = g
}

/** Rows i and i + 1 of Z, rotated. Plain loops: Z is a small block of the base case. */
function rotateRows(Z: Block, i: number, c: number, s: number): void {
  const x = rowOf(Z, i)
  const y = rowOf(Z, i + 1)
  for (let k = 0; k < x.length; k++) {
    const yk = y[k]
    y[k] = s * x[k] + c * yk
    x[k] = c * x[k] - s * yk
  }
}
