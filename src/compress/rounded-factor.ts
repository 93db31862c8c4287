import type { Engine } from '../linalg/engine.ts'
import { type Float64Matrix, type Matrix, transpose, zeros } from '../linalg/matrix/matrix.ts'
import { dot } from '../linalg/matrix/vector.ts'

/** What stored factors leave of a matrix, from products with directions that are at hand: only what rounding made of a factor is multiplied anew. */

/** Below this share of the whole square the terms cancel so far that the rounding of a float32 product might be seen in the seventh digit. */
const CANCELS_BELOW = 1e-3

/** X [n, r] = U·diag(scales) + rest. */
export interface RoundedFactor {
  readonly scales: Float64Array
  readonly rest: Float64Matrix
}

/** A factor X [n, r] beside the orthonormal columns of U that it was made of, the first r: the rest is orthogonal to these column by column. */
export function roundedFactor(U: Float64Matrix, X: Matrix): RoundedFactor {
  const { rows, columns } = X
  const scales = columnDots(U, X)
  const rest = zeros(rows, columns)
  for (let at = 0, i = 0; i < rows; i++) {
    for (let j = 0, atU = i * U.columns; j < columns; j++, at++, atU++)
      rest.data[at] = X.data[at] - scales[j] * U.data[atU]
  }
  return { scales, rest }
}

/** The inner products of the columns of X with those in the same places of U, which has as many or more. */
export function columnDots(U: Matrix, { rows, columns, data }: Matrix): Float64Array {
  const dots = new Float64Array(columns)
  for (let at = 0, i = 0; i < rows; i++) {
    for (let j = 0, atU = i * U.columns; j < columns; j++, at++, atU++) dots[j] += U.data[atU] * data[at]
  }
  return dots
}

/** ‖Δ − B·A‖_F = √(‖Δ‖² − 2·⟨Δ, B·A⟩ + ‖B·A‖²); undefined where little of ‖Δ‖² is left. */
export function residualNorm(square: number, inner: number, squareOfFactors: number): number | undefined {
  const residual = square - 2 * inner + squareOfFactors
  return residual >= CANCELS_BELOW * square ? Math.sqrt(residual) : undefined
}

/** Whether the rows of Δ are its short side. */
export const isWide = ({ rows, columns }: Matrix): boolean => rows < columns

/** Δ·X of a tall Δ, Δᵀ·X of a wide one, in the float type of X: X [short side, r]. */
export function timesShortSide(engine: Pick<Engine, 'resident'>, delta: Matrix, X: Matrix): Matrix {
  const resident = engine.resident(delta)
  try {
    return isWide(delta) ? resident.multiplyTransposed(X) : resident.multiply(X)
  } finally {
    resident.release()
  }
}

/** B [m, r] and A [r, k] as columns of the long side of Δ and of its short side. */
export const bySides = (
  delta: Matrix,
  B: Matrix,
  A: Matrix,
): { readonly long: Matrix; readonly short: Matrix } =>
  isWide(delta) ? { long: transpose(A), short: B } : { long: B, short: transpose(A) }

/** `residualNorm` of factors as columns of both sides. */
export const residualOfSides = (
  engine: Pick<Engine, 'gram'>,
  frobenius: number,
  inner: number,
  { long, short }: { readonly long: Matrix; readonly short: Matrix },
): number | undefined =>
  residualNorm(frobenius * frobenius, inner, dot(engine.gram(long).data, engine.gram(short).data))
