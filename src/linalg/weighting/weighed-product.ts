import type { Engine } from '../engine.ts'
import { widened } from '../matrix/half.ts'
import { type Float64Matrix, type HalfMatrix, type Matrix, toFloat64, transpose } from '../matrix/matrix.ts'
import { frobeniusNorm } from '../matrix/norms.ts'
import type { Factors } from '../svd/svd.ts'
import { type ProductSvd, productSvd } from '../truncation/product-svd.ts'
import type { Root } from './root.ts'
import { timesRoot } from './weigh.ts'

/** A product in the norm of its inputs, as far as a product is truncated by it. */
export interface WeighedProduct extends Pick<ProductSvd, 'S' | 'frobenius' | 'rounding' | 'distance'> {
  /** The best of rank r in this norm, balanced: a column of B is as long as its row of A. */
  factors(r: number): Factors
}

type Stored = Matrix | HalfMatrix

/**
 * The SVD of B·D·A·R, B [m, r], A [r, k], D diagonal, of which no product is formed. With `isOfRows` the weight is stored [in, out], and it is Rᵀ·B·D·A.
 * The best of rank r of B·D·A is U·Uᵀ·B·D·A, or B·D·A·V·Vᵀ.
 */
export function weighedProduct(
  engine: Engine,
  B: Stored,
  A: Stored,
  D: Float64Array,
  root: Root,
  isOfRows: boolean,
): WeighedProduct {
  const ofRows = (X: Matrix): Matrix => transpose(timesRoot(engine, transpose(X) as Matrix, root)) as Matrix
  const ofColumns = (X: Matrix): Matrix => timesRoot(engine, X, root)
  const svd = isOfRows
    ? productSvd(engine, ofRows(widened(B)), A, D)
    : productSvd(engine, B, ofColumns(widened(A)), D)
  return {
    S: svd.S,
    frobenius: svd.frobenius,
    rounding: svd.rounding,
    distance: (other) =>
      svd.distance(
        isOfRows
          ? { B: ofRows(widened(other.B)), A: other.A }
          : { B: other.B, A: ofColumns(widened(other.A)) },
      ),
    factors: (r) => {
      const { U, Vt } = svd.directions(r)
      if (isOfRows) {
        const core = scaledRows(engine.multiply(A, Vt, { transposeB: true }), D)
        return balanced(toFloat64(engine.multiply(B, core)), Vt)
      }
      const core = scaledRows(engine.multiply(B, U, { transposeA: true }), D)
      const rows = toFloat64(engine.multiply(core, A, { transposeA: true }))
      const turned = balanced(transpose(rows) as Float64Matrix, transpose(U) as Float64Matrix)
      return { B: transpose(turned.A) as Matrix, A: transpose(turned.B) as Matrix }
    },
  }
}

/** diag(D)·X. */
function scaledRows(X: Matrix, D: Float64Array): Float64Matrix {
  const { rows, columns } = X
  const data = Float64Array.from(X.data, (x, at) => x * D[Math.floor(at / columns)])
  return { rows, columns, data }
}

/** L·S with the length of each column of L shared out, S having rows of length 1. */
function balanced(
  L: Float64Matrix,
  S: Float64Matrix,
): { readonly B: Float64Matrix; readonly A: Float64Matrix } {
  const turned = transpose(L) as Float64Matrix
  const [B, A] = [L.data.slice(), S.data.slice()]
  for (let j = 0; j < L.columns; j++) {
    const root = Math.sqrt(frobeniusNorm(turned.data.subarray(j * L.rows, (j + 1) * L.rows)))
    for (let i = 0; i < L.rows; i++) B[i * L.columns + j] = root > 0 ? B[i * L.columns + j] / root : 0
    for (let i = 0; i < S.columns; i++) A[j * S.columns + i] *= root
  }
  return { B: { ...L, data: B }, A: { ...S, data: A } }
}
