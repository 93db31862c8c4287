import type { Engine } from '../linalg/engine.ts'
import { type Float64Matrix, type Matrix, toFloat64, transpose } from '../linalg/matrix/matrix.ts'
import { dot } from '../linalg/matrix/vector.ts'
import { gramQr } from '../linalg/svd/gram-qr.ts'
import { signsOf } from '../linalg/svd/scaling.ts'
import { scaleColumns } from '../linalg/truncation/columns.ts'
import type { TruncatedSvd } from '../linalg/truncation/truncated-svd.ts'
import { type FactorForm, rounded } from './layer-result.ts'
import { columnDots, residualNorm } from './rounded-factor.ts'

/** Rounding leaves the columns of a factor nearly as orthogonal as they were: beyond this condition something else has happened to them. */
const MOST_CONDITION = 8

/** Factors of which the short one is stored as it is, and the long one is the best there is to it. */
export interface FittedFactors {
  /** B·A = U·diag(S)·Vᵀ: what factors are made of, orthonormal but for what rounding made of the short side. */
  readonly U: Float64Matrix
  readonly V: Float64Matrix
  /** The singular values of Δ on the span of the short factor. Each is at most the true one; ‖Δ‖² − ΣS² is what the best factor beside the short one leaves. */
  readonly S: Float64Array
  /** ‖Δ − B·A‖_F of factors made of them, with leading columns of U and V, once they are rounded; undefined where the differences should be formed. */
  residual(B: Matrix, A: Matrix): number | undefined
}

/**
 * Factors of Δ from the vectors of its short side alone, X = V of a tall Δ, U of a wide one: X·√S (or what the form has) is rounded as it will be stored, to Y;
 * one product in float64, P = Δ·Y, then gives the best other factor, P·(YᵀY)⁻¹, the singular values on the span of Y, and what rounded factors leave,
 * ‖Δ − L·Yᵀ‖² = ‖Δ‖² − 2⟨P, L⟩ + ⟨LᵀL, YᵀY⟩. Undefined where rounding has left no such factors: of float16, too large or too small for it.
 */
export function fittedFactors(
  engine: Pick<Engine, 'gram' | 'multiply' | 'resident' | 'symmetricEigen'>,
  delta: Matrix,
  frobenius: number,
  found: TruncatedSvd,
  { distributeScale, dtype }: FactorForm,
): FittedFactors | undefined {
  const isWide = delta.rows < delta.columns
  // the scale of the short factor, of singular values
  const scale = (S: Float64Array) =>
    distributeScale ? S.map(Math.sqrt) : isWide ? S : new Float64Array(S.length).fill(1)
  const Y = rounded(scaled(isWide ? found.U : found.V, scale(found.S)), dtype)
  const G = engine.gram(Y)
  const qr = gramQr(G, MOST_CONDITION * Math.sqrt(G.rows))
  if (qr === undefined || !G.data.every(Number.isFinite)) return undefined
  const P = productOf(engine, delta, toFloat64(Y), isWide)
  const S = valuesOn(engine, P, qr.inverse)
  if (!(S[S.length - 1] > 0)) return undefined
  const best = toFloat64(engine.multiply(P, engine.gram(qr.inverse, 'rows')))
  // the largest entry of each left vector is positive, as of singular vectors
  const signs = signsOf(isWide ? Y : best)
  const ofShort = scale(S).map((x, j) => signs[j] * x)
  const short = scaled(
    Y,
    ofShort.map((x) => 1 / x),
  )
  scaleColumns(
    best,
    S.map((s, j) => ofShort[j] / s),
  )
  const [U, V] = isWide ? [short, best] : [best, short]
  return {
    U,
    V,
    S,
    residual: (B, A) => {
      const [left, right] = isWide ? [transpose(A), B] : [B, transpose(A)]
      const inner = columnDots(P, left).reduce((sum, x, j) => sum + signs[j] * x, 0)
      return residualNorm(frobenius * frobenius, inner, dot(engine.gram(left).data, engine.gram(right).data))
    },
  }
}

/** Δ·Y in float64, of a wide Δ Δᵀ·Y. */
function productOf(engine: Pick<Engine, 'resident'>, delta: Matrix, Y: Float64Matrix, isWide: boolean) {
  const resident = engine.resident(delta)
  try {
    return toFloat64(isWide ? resident.multiplyTransposed(Y) : resident.multiply(Y))
  } finally {
    resident.release()
  }
}

/** The singular values of P·R⁻¹, largest first: of what P = Δ·Y is on the span of Y = Q·R. */
function valuesOn(engine: Pick<Engine, 'gram' | 'multiply' | 'symmetricEigen'>, P: Matrix, inverse: Matrix) {
  const square = engine.multiply(inverse, engine.multiply(engine.gram(P), inverse), { transposeA: true })
  const { values } = engine.symmetricEigen(toFloat64(square), 'none')
  return values.reverse().map((value) => Math.sqrt(Math.max(0, value)))
}

/** X·diag(factors) as a new matrix in float64. */
function scaled(X: Matrix, factors: Float64Array): Float64Matrix {
  const result = { ...X, data: new Float64Array(X.data) }
  scaleColumns(result, factors)
  return result
}
