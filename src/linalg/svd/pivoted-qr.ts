import type { Float64Matrix } from '../matrix/matrix.ts'
import { type Block, type Kernels, part, rowOf } from './kernels.ts'
import { ENLARGE, makeReflector, type RowQr, TINY_SQUARE } from './qr.ts'
import { EPSILON } from './tridiagonal-ql.ts'

/** X·P = Q·R: column j of X·P is column `permutation[j]` of X. Rows of R from `rank` on are zero. */
export interface PivotedRowQr extends RowQr {
  readonly permutation: Int32Array
  readonly rank: number
}

/** A downdated norm that has lost half its digits is computed anew (Drmač and Bujanović 2008; LAPACK's tol3z). */
const RECOMPUTE = Math.sqrt(EPSILON)

/**
 * QR with column pivoting of the matrix whose columns are the rows of X [n, m], n ≤ m, in place: at each step the
 * column with the largest remaining norm comes next, so that |R(0,0)| ≥ |R(1,1)| ≥ … shows the rank and the condition
 * (Businger and Golub 1965; LAPACK xGEQP3, with the norm updates of xLAQP2). It ends at the rank, once what remains of
 * every column is n·eps of that column or less: its own rounding error, which is then set to zero. A column that is
 * small as a whole does not count as that. Entries are about 1 or less.
 */
export function pivotedRowQr(kernels: Kernels, X: Block): PivotedRowQr {
  const n = X.rows
  const tau = new Float64Array(n)
  const permutation = Int32Array.from({ length: n }, (_, j) => j)
  const norms = Float64Array.from({ length: n }, (_, j) => norm(rowOf(X, j)))
  const exactNorms = norms.slice()
  const fullNorms = norms.slice()
  let rank = n
  kernels.scope(() => {
    const products = kernels.allocate(n)
    for (let k = 0; k < n; k++) {
      if (onlyRoundingLeft(norms, fullNorms, k)) {
        for (let j = k; j < n; j++) rowOf(X, j, k).fill(0)
        rank = k
        return
      }
      const pivot = largestFrom(norms, k)
      if (pivot !== k) {
        swapRows(X, k, pivot)
        const moved = permutation[k]
        permutation[k] = permutation[pivot]
        permutation[pivot] = moved
        norms[pivot] = norms[k]
        exactNorms[pivot] = exactNorms[k]
        fullNorms[pivot] = fullNorms[k]
      }
      const v = rowOf(X, k, k)
      tau[k] = makeReflector(v)
      if (k + 1 === n) return
      if (tau[k] !== 0) {
        const diagonal = v[0]
        v[0] = 1
        const below = part(X, k + 1, k, n - k - 1, X.columns - k)
        const c = products.subarray(0, below.rows)
        c.fill(0)
        kernels.gemv(1, below, 'N', v, c)
        kernels.ger(-tau[k], c, v, below)
        v[0] = diagonal
      }
      for (let j = k + 1; j < n; j++) downdate(X, k, j, norms, exactNorms)
    }
  })
  return { reduced: X, tau, permutation, rank }
}

function onlyRoundingLeft(norms: Float64Array, fullNorms: Float64Array, k: number): boolean {
  const share = norms.length * EPSILON
  for (let j = k; j < norms.length; j++) if (norms[j] > share * fullNorms[j]) return false
  return true
}

/** norms(j) ← the norm of row j beyond column k. */
function downdate(X: Block, k: number, j: number, norms: Float64Array, exactNorms: Float64Array): void {
  if (norms[j] === 0) return
  const row = rowOf(X, j, k)
  const quotient = Math.abs(row[0]) / norms[j]
  const left = Math.max(0, 1 - quotient * quotient)
  const share = norms[j] / exactNorms[j]
  if (left * share * share <= RECOMPUTE) {
    norms[j] = norm(row.subarray(1))
    exactNorms[j] = norms[j]
  } else norms[j] *= Math.sqrt(left)
}

/** The length, also where squares would vanish. */
function norm(x: Float64Array): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += x[i] * x[i]
  if (sum >= TINY_SQUARE) return Math.sqrt(sum)
  sum = 0
  for (let i = 0; i < x.length; i++) sum += (x[i] * ENLARGE) ** 2
  return Math.sqrt(sum) / ENLARGE
}

/** The first index of the largest number from `start` on. */
function largestFrom(x: Float64Array, start: number): number {
  let best = start
  for (let j = start + 1; j < x.length; j++) if (x[j] > x[best]) best = j
  return best
}

function swapRows(X: Block, i: number, j: number): void {
  const a = rowOf(X, i)
  const b = rowOf(X, j)
  const copy = a.slice()
  a.set(b)
  b.set(copy)
}

/**
 * Replaces the columns `from`… of U [m, n], m ≥ n, in place by an orthonormal basis of a part of the complement of
 * its first `from` columns, which must be orthonormal. A Householder QR of those columns has R = diag(±1), so
 * the further columns of its Q are that basis (Golub & Van Loan, 5.2.2): 4·m·n·from flops.
 */
export function completeBasis(U: Float64Matrix, from: number): void {
  const { rows: m, columns: n, data } = U
  if (from >= n) return
  const reflectors = Array.from({ length: from }, (_, j) => columnOf(U, j))
  for (let j = 0; j < from; j++) {
    for (let earlier = 0; earlier < j; earlier++) reflect(reflectors[earlier], earlier, reflectors[j])
    toReflector(reflectors[j], j)
  }
  for (let j = from; j < n; j++) {
    const column = new Float64Array(m)
    column[j] = 1
    for (let i = from - 1; i >= 0; i--) reflect(reflectors[i], i, column)
    for (let i = 0; i < m; i++) data[i * n + j] = column[i]
  }
}

function columnOf(U: Float64Matrix, j: number): Float64Array {
  return Float64Array.from({ length: U.rows }, (_, i) => U.data[i * U.columns + j])
}

/** Turns x into the unit vector v, zero above `start`, of the reflection I − 2vvᵀ that maps x[start…] to a multiple of e. */
function toReflector(x: Float64Array, start: number): void {
  x.fill(0, 0, start)
  x[start] += x[start] < 0 ? -normFrom(x, start) : normFrom(x, start)
  const length = normFrom(x, start)
  for (let i = start; i < x.length; i++) x[i] /= length
}

/** x ← (I − 2vvᵀ)·x, where v is zero above `start`. */
function reflect(v: Float64Array, start: number, x: Float64Array): void {
  let dot = 0
  for (let i = start; i < x.length; i++) dot += v[i] * x[i]
  for (let i = start; i < x.length; i++) x[i] -= 2 * dot * v[i]
}

function normFrom(x: Float64Array, start: number): number {
  let sum = 0
  for (let i = start; i < x.length; i++) sum += x[i] * x[i]
  return Math.sqrt(sum)
}
