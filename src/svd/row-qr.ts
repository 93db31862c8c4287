import { type Block, type Kernels, part, rowOf } from './kernels.ts'
import {
  applyBlockReflector,
  applyReflectors,
  blockReflector,
  makeReflector,
  REFLECTOR_BLOCK,
} from './reflectors.ts'

/** X = Q·R for X held by its rows: Xᵀ = L·Qᵀ with L = Rᵀ. */
export interface RowQr {
  /** L [n, n] lower triangular in its lower triangle, the reflectors to the right of the diagonal. */
  readonly reduced: Block
  readonly tau: Float64Array
}

/**
 * Householder QR of the matrix whose columns are the rows of X [n, m], n ≤ m, in place and blocked (LAPACK xGELQF).
 * Rows are contiguous, so every inner loop runs along memory. Entries are about 1 or less.
 */
export function rowQr(kernels: Kernels, X: Block): RowQr {
  const n = X.rows
  const tau = new Float64Array(n)
  for (let start = 0; start < n; start += REFLECTOR_BLOCK) {
    const b = Math.min(REFLECTOR_BLOCK, n - start)
    const panel = part(X, start, start, b, X.columns - start)
    const panelTau = tau.subarray(start, start + b)
    kernels.scope(() => {
      factorPanel(kernels, panel, panelTau)
      const below = part(X, start + b, start, n - start - b, panel.columns)
      if (below.rows > 0) applyBlockReflector(kernels, below, blockReflector(kernels, panel, panelTau), 'N')
    })
  }
  return { reduced: X, tau }
}

/** Unblocked QR of a few rows (xGELQ2). */
function factorPanel(kernels: Kernels, panel: Block, tau: Float64Array): void {
  const { rows, columns } = panel
  const products = kernels.allocate(rows)
  for (let i = 0; i < rows; i++) {
    const v = rowOf(panel, i, i)
    tau[i] = makeReflector(v)
    if (tau[i] === 0 || i + 1 === rows) continue
    const diagonal = v[0]
    v[0] = 1
    const below = part(panel, i + 1, i, rows - i - 1, columns - i)
    const c = products.subarray(0, below.rows)
    c.fill(0)
    kernels.gemv(1, below, 'N', v, c)
    kernels.ger(-tau[i], c, v, below)
    v[0] = diagonal
  }
}

/** Q [n, m] ← the first n columns of Q, as rows; orthonormal to rounding whatever the rank of X (xORGLQ). */
export function orthonormalRows(kernels: Kernels, { reduced, tau }: RowQr, Q: Block): void {
  for (let i = 0; i < Q.rows; i++) {
    const row = rowOf(Q, i).fill(0)
    row[i] = 1
  }
  applyReflectors(kernels, reduced, tau, 0, Q, true)
}
