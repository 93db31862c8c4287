import type { Engine } from '../linalg/engine.ts'
import { floatType, type Matrix, toFloat32 } from '../linalg/matrix/matrix.ts'
import { dot } from '../linalg/matrix/vector.ts'
import type { TruncatedSvd } from '../linalg/truncation/truncated-svd.ts'
import {
  bySides,
  columnDots,
  isWide,
  residualOfSides,
  roundedFactor,
  timesShortSide,
} from './rounded-factor.ts'

/** Up to so many entries a product in float64 takes no longer than a millisecond. */
export const WIDE_UP_TO = 2 ** 18

/**
 * ‖Δ − B·A‖_F of stored factors B [m, r], A [r, k] of Δ's triplets, without forming the differences; undefined where they should be formed.
 * On the short side of Δ triplets are exact: Δ·V = U·diag(S) of a tall Δ, in float64, however far U's columns are from singular vectors. With
 * Aᵀ = V·diag(c) + E, E what rounding made of it, Δ·Aᵀ = U·diag(S·c) + Δ·E, of which the second is small, in large matrices of Δ's own float type, and
 * ‖Δ − B·A‖² = ‖Δ‖² − 2⟨Δ·Aᵀ, B⟩ + ⟨BᵀB, A·Aᵀ⟩. A wide Δ is seen from its other side.
 */
export function plainResidual(
  engine: Pick<Engine, 'gram' | 'resident'>,
  delta: Matrix,
  frobenius: number,
  { U, S, V }: TruncatedSvd,
  B: Matrix,
  A: Matrix,
): number | undefined {
  const sides = bySides(delta, B, A)
  const { long, short } = sides
  const [left, right] = isWide(delta) ? [V, U] : [U, V]
  const { scales, rest } = roundedFactor(right, short)
  const isNarrow = floatType(delta) === 'f32' && delta.data.length > WIDE_UP_TO
  const ofRest = dot(timesShortSide(engine, delta, isNarrow ? toFloat32(rest) : rest).data, long.data)
  const inner = columnDots(left, long).reduce((sum, along, j) => sum + along * S[j] * scales[j], ofRest)
  return residualOfSides(engine, frobenius, inner, sides)
}
