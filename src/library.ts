import type { MultiplyOptions } from './engine/engine.ts'
import { engineFor } from './engine/engine-for.ts'
import { decompositionFlops } from './engine/policy.ts'
import type { Matrix } from './matrix/matrix.ts'
import type { Svd, Vectors } from './svd/types.ts'

/**
 * The thin singular value decomposition A = U · diag(S) · Vᵀ in float64: A [m, k], U [m, n], S [n] non-increasing,
 * V [k, n], n = min(m, k); `vectors: 'none'` gives S alone. The largest |entry| of each left vector is positive.
 * Throws LoraSvdError 'not-finite' on NaN and infinity.
 */
export function svd(A: Matrix, { vectors = 'thin' }: { vectors?: Vectors } = {}): Svd {
  return engineFor(decompositionFlops(A.rows, A.columns)).svd(A, vectors)
}

/** op(A)·op(B): float32 arithmetic where both are float32, else float64. Throws RangeError when shapes don't fit. */
export function multiply(A: Matrix, B: Matrix, options: MultiplyOptions = {}): Matrix {
  return engineFor(A.data.length * Math.max(B.rows, B.columns)).multiply(A, B, options)
}
