import type { Engine } from '../linalg/engine.ts'
import { type Float64Matrix, type Matrix, scaledColumns, toFloat64 } from '../linalg/matrix/matrix.ts'
import { gramQr } from '../linalg/svd/gram-qr.ts'
import { signsOf } from '../linalg/svd/scaling.ts'
import { scaleColumns } from '../linalg/truncation/columns.ts'
import type { TruncatedSvd } from '../linalg/truncation/truncated-svd.ts'
import { type FactorForm, rounded } from './layer-result.ts'
import { bySides, columnDots, isWide, residualOfSides, timesShortSide } from './rounded-factor.ts'

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
  const wide = isWide(delta)
  // the scale of the short factor, of singular values
  const scale = (S: Float64Array) =>
    distributeScale ? S.map(Math.sqrt) : wide ? S : new Float64Array(S.length).fill(1)
  const Y = rounded(scaledColumns(wide ? found.U : found.V, scale(found.S)), dtype)
  const G = engine.gram(Y)
  const qr = gramQr(G, MOST_CONDITION * Math.sqrt(G.rows))
  if (qr === undefined || !G.data.every(Number.isFinite)) return undefined
  const P = timesShortSide(engine, delta, toFloat64(Y))
  const S = valuesOn(engine, P, qr.inverse)
  if (!(S[S.length - 1] > 0)) return undefined
  const best = toFloat64(engine.multiply(P, engine.gram(qr.inverse, 'rows')))
  // the largest entry of each left vector is positive, as of singular vectors
  const signs = signsOf(wide ? Y : best)
  const ofShort = scale(S).map((x, j) => signs[j] * x)
  const short = scaledColumns(
    Y,
    ofShort.map((x) => 1 / x),
  )
  scaleColumns(
    best,
    S.map((s, j) => ofShort[j] / s),
  )
  const [U, V] = wide ? [short, best] : [best, short]
  return {
    U,
    V,
    S,
    residual: (B, A) => {
      const sides = bySides(delta, B, A)
      const inner = columnDots(P, sides.long).reduce((sum, x, j) => sum + signs[j] * x, 0)
      return residualOfSides(engine, frobenius, inner, sides)
    },
  }
}

/** The singular values of P·R⁻¹, largest first: of what P = Δ·Y is on the span of Y = Q·R. */
function valuesOn(engine: Pick<Engine, 'gram' | 'multiply' | 'symmetricEigen'>, P: Matrix, inverse: Matrix) {
  const square = engine.multiply(inverse, engine.multiply(engine.gram(P), inverse), { transposeA: true })
  const { values } = engine.symmetricEigen(toFloat64(square), 'none')
  return values.reverse().map((value) => Math.sqrt(Math.max(0, value)))
}
