import type { DemoResult } from './commands/demo/demo.ts'
import type { DemoOptions } from './commands/demo/options.ts'
import { decompositionFlops, engineFor } from './engine/open.ts'
import type { MultiplyOptions } from './linalg/engine.ts'
import { floatType, type HalfMatrix, type Matrix } from './linalg/matrix/matrix.ts'
import { epsilonOf, numericalRank } from './linalg/spectrum/ranks.ts'
import type { RankRule } from './linalg/spectrum/rules.ts'
import { awayFromExtremes } from './linalg/svd/scaling.ts'
import type { Svd, Vectors } from './linalg/svd/svd.ts'
import { truncatedSvd as truncate } from './linalg/truncation/truncated-svd.ts'
import type { TruncatedSvd, TruncationOptions } from './linalg/truncation/types.ts'

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

/**
 * The leading singular triplets of A [m, k], as many as `rule` asks for, with an interval that holds the error of the best
 * approximation of that rank: `truncatedSvd(W, { kind: 'error', error: 0.05 })`. By block Krylov iteration, or by the full
 * SVD where that is cheaper or where only it decides the rank. Throws LoraSvdError 'not-finite' on NaN and infinity.
 */
export function truncatedSvd(
  A: Matrix | HalfMatrix,
  rule: RankRule,
  options: Partial<TruncationOptions> = {},
): TruncatedSvd {
  return truncate(A, rule, { engine: engineFor(decompositionFlops(A.rows, A.columns)), ...options })
}

/** The numerical rank of A, counted as NumPy's `matrix_rank` counts. Throws LoraSvdError 'not-finite'. */
export function matrixRank(A: Matrix): number {
  const { S } = svd(awayFromExtremes(A).A, { vectors: 'none' })
  return numericalRank(S, A.rows, A.columns, epsilonOf[floatType(A)])
}

/**
 * The notebook's experiment: W = randn(d, rank)·randn(rank, k), its rank, its SVD, B and A in its place, and whether
 * (B·A)·x + bias is allclose to W·x + bias. Loads mathjs when it is called. Throws LoraSvdError 'bad-usage'.
 */
export async function demo(options: DemoOptions = {}): Promise<DemoResult> {
  const { demo: run } = await import('./commands/demo/demo.ts')
  return run(options)
}
