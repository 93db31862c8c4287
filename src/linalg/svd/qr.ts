import type { Float64Matrix } from '../matrix/matrix.ts'
import { largestAbs } from '../matrix/norms.ts'
import { type Block, block, copyBlock, type Kernels, part, rowOf } from './kernels.ts'

/** Below this, squares lose digits or vanish, and the vector is enlarged first. */
export const TINY_SQUARE = 2 ** -900
export const ENLARGE = 2 ** 600

/**
 * A Householder reflector H = I − tau·v·vᵀ with v(0) = 1 and H·x = [beta, 0, …] (LAPACK xLARFG).
 * x is overwritten by [beta, v(1), v(2), …]; tau is returned, 0 where H = I. The squares of x must not overflow.
 */
export function makeReflector(x: Float64Array): number {
  const n = x.length
  const alpha = x[0]
  let tail = 0
  for (let i = 1; i < n; i++) tail += x[i] * x[i]
  if (alpha * alpha + tail < TINY_SQUARE && largestAbs(x) > 0) {
    for (let i = 0; i < n; i++) x[i] *= ENLARGE
    const tau = makeReflector(x)
    x[0] /= ENLARGE
    return tau
  }
  if (tail === 0) {
    x.fill(0, 1)
    return 0
  }
  const norm = Math.sqrt(alpha * alpha + tail)
  const beta = alpha > 0 ? -norm : norm
  const scale = 1 / (alpha - beta)
  for (let i = 1; i < n; i++) x[i] *= scale
  x[0] = beta
  return (beta - alpha) / beta
}

/** b reflectors as one: H(0)·…·H(b−1) = I + Vᵀ·N·V with the vectors in the rows of V [b, n] and N [b, b] upper triangular. */
export interface BlockReflector {
  readonly V: Block
  readonly N: Block
}

/**
 * The compact WY form (Schreiber and Van Loan 1989; LAPACK xLARFT, N = −T) of reflectors stored in the rows of `rows`:
 * row i has its unit entry at column i, not stored, and its tail to the right of it.
 */
function blockReflector(kernels: Kernels, rows: Block, tau: Float64Array): BlockReflector {
  const b = rows.rows
  const V = block(kernels.allocate(b * rows.columns), b, rows.columns)
  copyBlock(rows, V)
  for (let i = 0; i < b; i++) {
    const v = rowOf(V, i)
    v.fill(0, 0, i)
    v[i] = 1
  }
  const products = block(kernels.allocate(b * b), b, b)
  kernels.gemm(V, 'N', V, 'T', products)
  const N = block(kernels.allocate(b * b).fill(0), b, b)
  for (let j = 0; j < b; j++) {
    N.data[j * b + j] = -tau[j]
    for (let i = 0; i < j; i++) {
      let sum = 0
      for (let l = i; l < j; l++) sum += N.data[i * b + l] * products.data[l * b + j]
      N.data[i * b + j] = -tau[j] * sum
    }
  }
  return { V, N }
}

/**
 * Applies H = I + Vᵀ·N·V to every row of X from the right: X ← X·H for 'N', X ← X·Hᵀ for 'T'. In other words,
 * with X holding vectors in its rows, x ← Hᵀ·x for 'N' and x ← H·x for 'T' (LAPACK xLARFB). X [r, n], V [b, n].
 */
function applyBlockReflector(kernels: Kernels, X: Block, H: BlockReflector, op: 'N' | 'T'): void {
  if (X.rows === 0) return
  kernels.scope(() => {
    const b = H.V.rows
    const P = block(kernels.allocate(X.rows * b), X.rows, b)
    const PN = block(kernels.allocate(X.rows * b), X.rows, b)
    kernels.gemm(X, 'N', H.V, 'T', P)
    kernels.gemm(P, 'N', H.N, op, PN)
    kernels.gemm(PN, 'N', H.V, 'N', X, true)
  })
}

/** Reflectors to a block: wide enough for full speed of the product kernel, narrow beside the matrix. */
export const REFLECTOR_BLOCK = 32

/**
 * Applies H(0)·H(1)·…·H(count−1) to the vectors in the rows of X, last reflector first: x ← H(0)·…·H(count−1)·x.
 * Reflector i is in row i of `rows`, its unit entry at column i + shift (LAPACK xORMQR, xORMTR). Where row i of X
 * is the i-th unit vector, `fromIdentity` leaves out the products with zeros (xORGQR); it needs shift = 0.
 */
export function applyReflectors(
  kernels: Kernels,
  rows: Block,
  tau: Float64Array,
  shift: number,
  X: Block,
  fromIdentity = false,
): void {
  const count = tau.length
  const blocks = Math.ceil(count / REFLECTOR_BLOCK)
  for (let start = (blocks - 1) * REFLECTOR_BLOCK; start >= 0; start -= REFLECTOR_BLOCK) {
    const b = Math.min(REFLECTOR_BLOCK, count - start)
    const first = start + shift
    const width = rows.columns - first
    const top = fromIdentity ? start : 0
    kernels.scope(() => {
      const H = blockReflector(kernels, part(rows, start, first, b, width), tau.subarray(start, start + b))
      applyBlockReflector(kernels, part(X, top, first, X.rows - top, width), H, 'T')
    })
  }
}

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
      kernels.factorPanel(panel, panelTau)
      const below = part(X, start + b, start, n - start - b, panel.columns)
      if (below.rows > 0) applyBlockReflector(kernels, below, blockReflector(kernels, panel, panelTau), 'N')
    })
  }
  return { reduced: X, tau }
}

/** Unblocked QR of a few rows (xGELQ2). */
export function factorPanel(kernels: Kernels, panel: Block, tau: Float64Array): void {
  const { rows, columns } = panel
  const products = kernels.allocate(rows)
  for (let i = 0; i < rows; i++) {
    const v = rowOf(panel, i, i)
    tau[i] = kernels.makeReflector(v)
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
