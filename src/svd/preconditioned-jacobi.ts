import type { Svd, Vectors } from '../engine/engine.ts'
import type { RowSvd } from './gram-svd.ts'
import { jacobiSvd } from './jacobi.ts'
import { type Block, block, copyBlock, type Kernels, part, rowOf, transposeBlock } from './kernels.ts'
import { type PivotedRowQr, pivotedRowQr } from './pivoted-qr.ts'
import { orthonormalRows, type RowQr, rowQr } from './row-qr.ts'

/**
 * The SVD of X, whose columns are the rows of `Xt` [n, m], n ≤ m, with the small singular values as accurate as the
 * data determine them: X·P = Q·R with column pivoting, Rᵀ = Q2·R2, one-sided Jacobi on R2ᵀ (Drmač and Veselić, SIMAX
 * 29 (2008) 1322 and 1343; LAPACK xGEJSV). For X = B·D with D diagonal the relative errors depend on the condition of
 * B alone. Entries of `Xt` are about 1 or less. `Xt` is kept. The results
 * are allocated from `kernels`. Throws LoraSvdError 'no-convergence' as jacobiSvd does.
 */
export function preconditionedJacobi(kernels: Kernels, Xt: Block): RowSvd {
  const n = Xt.rows
  const Ut = block(kernels.allocate(n * Xt.columns), n, Xt.columns)
  const Vt = block(kernels.allocate(n * n), n, n)
  const S = new Float64Array(n)
  kernels.scope(() => {
    const { first, second, rank } = precondition(kernels, Xt)
    const inner = jacobiOfTriangle(second, rank, 'thin')
    S.set(inner.S)
    turn(kernels, inner.U.data, rank, orthonormalRows(kernels, first), Ut)
    const permuted = block(kernels.allocate(n * n), n, n)
    turn(kernels, inner.V.data, rank, orthonormalRows(kernels, second), permuted)
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
    const { second, rank } = precondition(kernels, Xt)
    S.set(jacobiOfTriangle(second, rank, 'none').S)
  })
  return S
}

interface Preconditioned {
  readonly first: PivotedRowQr
  readonly second: RowQr
  readonly rank: number
}

/** X·P = Q·R and Rᵀ = Q2·R2, with the number of rows of R before its first exact zero. */
function precondition(kernels: Kernels, Xt: Block): Preconditioned {
  const n = Xt.rows
  const copy = block(kernels.allocate(n * Xt.columns), n, Xt.columns)
  copyBlock(Xt, copy)
  const first = pivotedRowQr(kernels, copy)
  const R = block(kernels.allocate(n * n), n, n)
  transposeBlock(part(copy, 0, 0, n, n), R)
  for (let i = 1; i < n; i++) rowOf(R, i).fill(0, 0, i)
  let rank = 0
  while (rank < n && rowOf(R, rank)[rank] !== 0) rank++
  return { first, second: rowQr(kernels, R), rank }
}

function jacobiOfTriangle({ reduced }: RowQr, rank: number, vectors: Vectors): Svd {
  const L = new Float64Array(rank * rank)
  for (let i = 0; i < rank; i++) L.set(rowOf(reduced, i, 0, i + 1), i * rank)
  return jacobiSvd({ rows: rank, columns: rank, data: L }, vectors)
}

/** target ← the first `rank` rows of Q turned by Wᵀ, W [rank, rank]; the other rows of Q as they are. */
function turn(kernels: Kernels, W: Float64Array, rank: number, Q: Block, target: Block): void {
  copyBlock(Q, target)
  if (rank === 0) return
  const factor = block(kernels.allocate(rank * rank), rank, rank)
  factor.data.set(W)
  kernels.gemm(factor, 'T', part(Q, 0, 0, rank, Q.columns), 'N', part(target, 0, 0, rank, Q.columns))
}
