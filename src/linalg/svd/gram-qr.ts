import { type Float64Matrix, zeros } from '../matrix/matrix.ts'

/** The R of X = Q·R as the Gram matrix of X gives it, and its inverse, by which Q = X·R⁻¹. */
export interface GramQr {
  readonly R: Float64Matrix
  /** R⁻¹, but that rows and columns of X's columns of zeros are zero. */
  readonly inverse: Float64Matrix
}

/** Gram matrices have such diagonals where no square on the way has lost digits or passed the end of float64. */
const ORDINARY = { least: 2 ** -900, most: 2 ** 900 }

/**
 * Cholesky QR (Stathopoulos and Wu 2002; Yamamoto et al. 2015): RᵀR = G = XᵀX up to rounding, R upper triangular. With D the columns'
 * lengths, G is off by about ε in units of D·D, and so is RᵀR; then R is that of a matrix whose columns are off by less than about
 * ε·‖D·R⁻¹‖_F of their lengths (Sun 1991, of the Cholesky factor), where Householder's would be off by ε. Undefined where ‖D·R⁻¹‖_F, the
 * condition of X with columns of unit length, passes `limit`, so that what is given is known to be that good.
 */
export function gramQr(G: Float64Matrix, limit: number): GramQr | undefined {
  const n = G.rows
  for (let j = 0; j < n; j++) {
    const square = G.data[j * n + j]
    if (square !== 0 && !(square >= ORDINARY.least && square <= ORDINARY.most)) return undefined
  }
  const R = choleskyOf(G, limit)
  if (R === undefined) return undefined
  const inverse = inverseOf(R)
  let squares = 0
  for (let i = 0; i < n; i++) {
    const row = inverse.data.subarray(i * n, (i + 1) * n)
    squares += G.data[i * n + i] * row.reduce((sum, x) => sum + x * x, 0)
  }
  return squares <= limit * limit ? { R, inverse } : undefined
}

/** R of G = RᵀR by outer products; undefined at a pivot that is too small beside its column. A column of zeros has a row of zeros. */
function choleskyOf(G: Float64Matrix, limit: number): Float64Matrix | undefined {
  const n = G.rows
  const R = zeros(n, n)
  for (let i = 0; i < n; i++) R.data.set(G.data.subarray(i * n + i, (i + 1) * n), i * n + i)
  for (let k = 0; k < n; k++) {
    const row = R.data.subarray(k * n + k, (k + 1) * n)
    const square = G.data[k * n + k]
    if (square === 0) continue
    // 1 over the root of this is a part of the condition
    if (!(row[0] * limit * limit >= square)) return undefined
    const pivot = Math.sqrt(row[0])
    row[0] = pivot
    for (let j = 1; j < row.length; j++) row[j] /= pivot
    for (let i = 1; i < row.length; i++) subtract(row[i], row.subarray(i), R.data, (k + i) * n + k + i)
  }
  return R
}

/** R⁻¹ of an upper triangular R, its rows from the last on; a row of zeros stays one. */
function inverseOf(R: Float64Matrix): Float64Matrix {
  const n = R.rows
  const T = zeros(n, n)
  for (let i = n - 1; i >= 0; i--) {
    const pivot = R.data[i * n + i]
    if (pivot === 0) continue
    const row = T.data.subarray(i * n, (i + 1) * n)
    row[i] = 1
    for (let j = i + 1; j < n; j++) {
      subtract(R.data[i * n + j], T.data.subarray(j * n + j, (j + 1) * n), T.data, i * n + j)
    }
    for (let j = i; j < n; j++) row[j] /= pivot
  }
  return T
}

/** data[at…] ← data[at…] − factor·x. */
function subtract(factor: number, x: Float64Array, data: Float64Array, at: number): void {
  for (let j = 0; j < x.length; j++) data[at + j] -= factor * x[j]
}
