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
  if (alpha * alpha + tail < TINY_SQUARE && largestMagnitude(x) > 0) {
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

function largestMagnitude(x: Float64Array): number {
  let largest = 0
  for (let i = 0; i < x.length; i++) largest = Math.max(largest, Math.abs(x[i]))
  return largest
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
export function blockReflector(kernels: Kernels, rows: Block, tau: Float64Array): BlockReflector {
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
export function applyBlockReflector(kernels: Kernels, X: Block, H: BlockReflector, op: 'N' | 'T'): void {
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
