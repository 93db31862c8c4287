import { epsilonOf } from '../matrix/matrix.ts'
import type { RowSvd } from './gram-svd.ts'
import { jacobiSvd } from './jacobi.ts'
import { type Block, block, copyBlock, type Kernels, part, rowOf, transposeBlock } from './kernels.ts'
import { ENLARGE, orthonormalRows, type RowQr, rowQr, TINY_SQUARE } from './qr.ts'
import type { Svd, Vectors } from './svd.ts'

/** X·P = Q·R: column j of X·P is column `permutation[j]` of X. Rows of R from `rank` on are zero. */
export interface PivotedRowQr extends RowQr {
  readonly permutation: Int32Array
  readonly rank: number
}

/** A downdated norm that has lost half its digits is computed anew (Drmač and Bujanović 2008; LAPACK's tol3z). */
const RECOMPUTE = Math.sqrt(epsilonOf.f64)

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
      tau[k] = kernels.makeReflector(v)
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
  const share = norms.length * epsilonOf.f64
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
 * The SVD of X, whose columns are the rows of `Xt` [n, m], n ≤ m, with the small singular values as accurate as the
 * data determine them: X·P = Q·R with column pivoting, Rᵀ = Q2·R2, one-sided Jacobi on R2ᵀ (Drmač and Veselić, SIMAX
 * 29 (2008) 1322 and 1343; LAPACK xGEJSV). For X = B·D with D diagonal the relative errors depend on the condition of
 * B alone. What is rounding error beside every column is returned as 0. Entries of `Xt` are about 1 or less. `Xt` is kept. The results
 * are allocated from `kernels`. Throws LoraSvdError 'no-convergence' as jacobiSvd does.
 */
export function preconditionedJacobi(kernels: Kernels, Xt: Block): RowSvd {
  const n = Xt.rows
  const Ut = block(kernels.allocate(n * Xt.columns), n, Xt.columns)
  const Vt = block(kernels.allocate(n * n), n, n)
  const S = new Float64Array(n)
  kernels.scope(() => {
    const { first, second } = precondition(kernels, Xt)
    const { rank } = first
    const inner = jacobiOfTriangle(kernels, second, rank, 'thin')
    S.set(inner.S)
    orthonormalRows(kernels, first, Ut)
    turn(kernels, inner.U.data, rank, Ut)
    const permuted = block(kernels.allocate(n * n), n, n)
    orthonormalRows(kernels, second, permuted)
    turn(kernels, inner.V.data, rank, permuted)
    for (let i = 0; i < n; i++) {
      const from = rowOf(permuted, i)
      const to = rowOf(Vt, i)
      for (let j = 0; j < n; j++) to[first.permutation[j]] = from[j]
    }
  })
  return { Ut, S, Vt }
}

/** Singular values alone, non-increasing, as accurate as those of `preconditionedJacobi`. */
export function preconditionedJacobiValues(kernels: Kernels, Xt: Block): Float64Array {
  const S = new Float64Array(Xt.rows)
  kernels.scope(() => {
    const { first, second } = precondition(kernels, Xt)
    S.set(jacobiOfTriangle(kernels, second, first.rank, 'none').S)
  })
  return S
}

interface Preconditioned {
  readonly first: PivotedRowQr
  readonly second: RowQr
}

/** X·P = Q·R and Rᵀ = Q2·R2. */
function precondition(kernels: Kernels, Xt: Block): Preconditioned {
  const n = Xt.rows
  const copy = block(kernels.allocate(n * Xt.columns), n, Xt.columns)
  copyBlock(Xt, copy)
  const first = pivotedRowQr(kernels, copy)
  const R = block(kernels.allocate(n * n), n, n)
  transposeBlock(part(copy, 0, 0, n, n), R)
  for (let i = 1; i < n; i++) rowOf(R, i).fill(0, 0, i)
  return { first, second: rowQr(kernels, R) }
}

function jacobiOfTriangle(kernels: Kernels, { reduced }: RowQr, rank: number, vectors: Vectors): Svd {
  const L = new Float64Array(rank * rank)
  for (let i = 0; i < rank; i++) L.set(rowOf(reduced, i, 0, i + 1), i * rank)
  return jacobiSvd({ rows: rank, columns: rank, data: L }, vectors, kernels)
}

/** The first `rank` rows of Q turned by Wᵀ, W [rank, rank], in place. */
function turn(kernels: Kernels, W: Float64Array, rank: number, Q: Block): void {
  if (rank === 0) return
  const factor = block(kernels.allocate(rank * rank), rank, rank)
  factor.data.set(W)
  const rows = part(Q, 0, 0, rank, Q.columns)
  const copy = block(kernels.allocate(rank * Q.columns), rank, Q.columns)
  copyBlock(rows, copy)
  kernels.gemm(factor, 'T', copy, 'N', rows)
}
