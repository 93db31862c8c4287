import type { RowSvd } from './gram-svd.ts'
import { jacobiSvd } from './jacobi.ts'
import { type Block, block, copyBlock, type Kernels, part, rowOf, transposeBlock } from './kernels.ts'
import { type PivotedRowQr, pivotedRowQr } from './pivoted-qr.ts'
import { orthonormalRows, type RowQr, rowQr } from './qr.ts'
import type { Svd, Vectors } from './svd.ts'

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
    const inner = jacobiOfTriangle(second, rank, 'thin')
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
    S.set(jacobiOfTriangle(second, first.rank, 'none').S)
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

function jacobiOfTriangle({ reduced }: RowQr, rank: number, vectors: Vectors): Svd {
  const L = new Float64Array(rank * rank)
  for (let i = 0; i < rank; i++) L.set(rowOf(reduced, i, 0, i + 1), i * rank)
  return jacobiSvd({ rows: rank, columns: rank, data: L }, vectors)
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
