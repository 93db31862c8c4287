import type { Engine } from '../linalg/engine.ts'
import {
  type Float64Matrix,
  floatType,
  type Matrix,
  matrix,
  rowRange,
  toFloat32,
} from '../linalg/matrix/matrix.ts'
import { dot } from '../linalg/matrix/vector.ts'
import type { Root } from '../linalg/weighting/root.ts'
import { timesRoot } from '../linalg/weighting/weigh.ts'
import { residualNorm, roundedFactor } from './rounded-factor.ts'

/** A delta in both norms, with the leading left vectors of Δ·R and what they make of Δ. */
export interface FeltTriplets {
  /** Δ [m, k]. */
  readonly delta: Matrix
  readonly frobenius: number
  /** ‖Δ·R‖_F. */
  readonly feltFrobenius: number
  readonly root: Root
  /** [m, r], orthonormal columns. */
  readonly U: Float64Matrix
  /** Uᵀ·Δ [r, k], in float64. */
  readonly rows: Float64Matrix
}

/** ‖Δ − B·A‖_F and ‖(Δ − B·A)·R‖_F; undefined where they are to be formed from the differences themselves. */
export interface BothResiduals {
  readonly plain: number | undefined
  readonly felt: number | undefined
}

/**
 * What factors B [m, r] and A [r, k] leave, by ‖Δ − B·A‖² = ‖Δ‖² − 2⟨Bᵀ·Δ, A⟩ + ⟨BᵀB, A·Aᵀ⟩ in float64, and the same with Δ·R and A·R: no pass over
 * the differences. B is U·diag(c) but for its rounding D, so that Bᵀ·Δ = diag(c)·Uᵀ·Δ + Dᵀ·Δ, of which the second, in Δ's own float type, is small.
 */
export function bothResiduals(engine: Engine, triplets: FeltTriplets, B: Matrix, A: Matrix): BothResiduals {
  const { delta, frobenius, feltFrobenius, root } = triplets
  const rank = B.columns
  const { scales, rest } = roundedFactor(triplets.U, B)
  const small = floatType(delta) === 'f32' ? toFloat32(rest) : rest
  const inner = engine.multiply(small, delta, { transposeA: true })
  const { columns: k } = A
  const BtD = matrix(
    rank,
    k,
    Float64Array.from(inner.data, (x, at) => x + scales[Math.floor(at / k)] * triplets.rows.data[at]),
  )
  const BtB = engine.gram(B)
  const left = (X: Matrix, Y: Matrix, square: number) =>
    residualNorm(square, dot(X.data, Y.data), dot(BtB.data, engine.gram(Y, 'rows').data))
  const both = timesRoot(engine, stacked(BtD, A), root)
  return {
    plain: left(BtD, A, frobenius * frobenius),
    felt: left(rowRange(both, 0, rank), rowRange(both, rank, 2 * rank), feltFrobenius * feltFrobenius),
  }
}

function stacked(X: Matrix, Y: Matrix): Float64Matrix {
  const data = new Float64Array(X.data.length + Y.data.length)
  data.set(X.data)
  data.set(Y.data, X.data.length)
  return matrix(X.rows + Y.rows, X.columns, data)
}
