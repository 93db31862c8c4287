import {
  type Float64Matrix,
  type HalfMatrix,
  leadingColumns,
  type Matrix,
  transpose,
} from '../matrix/matrix.ts'
import { frobeniusNorm, isSquarable } from '../matrix/norms.ts'
import type { Factors } from '../svd/svd.ts'
import { factorBasis, type ProductEngine, type Split } from './factor-basis.ts'

/** Factors of any type. */
interface StoredFactors {
  readonly B: Matrix | HalfMatrix
  readonly A: Matrix | HalfMatrix
}

/** The singular value decomposition of a product B·D·A that is never formed. */
export interface ProductSvd {
  /** All singular values but those that are zero by the shapes, non-increasing. */
  readonly S: Float64Array
  /** ‖B·D·A‖_F. */
  readonly frobenius: number
  /** At least how far each singular value may be off by rounding: what is smaller says nothing. */
  readonly rounding: number
  /** The inner products of B's columns and of A's rows. */
  grams(): { readonly B: Float64Matrix; readonly A: Float64Matrix }
  /** The best approximation of rank r as U·√S [m, r] and √S·Vᵀ [r, k]: neither is large where S is. */
  factors(r: number): Factors
  /** The leading r directions on either side: U [m, r] and Vᵀ [r, k], orthonormal to 10⁻¹⁰ at the worst. */
  directions(r: number): { readonly U: Float64Matrix; readonly Vt: Float64Matrix }
  /**
   * ‖B·D·A − B'·A'‖_F of other factors, without forming either product: right to rounding for what is near to this product's own
   * factors, to 10⁻⁹ of ‖B'·A'‖ for any others.
   */
  distance(other: StoredFactors): number
}

/**
 * The SVD of B·D·A, B [m, r], A [r, k] and D diagonal, of ones where it is left out, in float64: a triangle of each factor, then the SVD of
 * the small product of the triangles (Golub and Van Loan, Matrix Computations, 4th edition, 5.4.1 and 8.6). The triangles err by about ε
 * times the norm of each column, whatever the others' are, so that factors may be scaled as they like. Throws LoraSvdError
 * 'not-finite' on NaN and infinity, RangeError where the shapes don't fit.
 */
export function productSvd(
  engine: ProductEngine,
  B: Matrix | HalfMatrix,
  A: Matrix | HalfMatrix,
  D?: Float64Array,
): ProductSvd {
  if (B.columns !== A.rows) throw new RangeError(`[${B.rows}, ${B.columns}] · [${A.rows}, ${A.columns}]`)
  const left = factorBasis(engine, B, 'columns')
  const right = factorBasis(engine, A, 'rows')
  const scaled = D === undefined ? left.R : timesDiagonal(left.R, D)
  const core = engine.multiply(scaled, right.R, { transposeB: true }) as Float64Matrix
  const { U, S, V } = engine.svd(core, 'thin')
  const weighted = (vectors: Float64Matrix, r: number) =>
    timesDiagonal(leadingColumns(vectors, r), S.subarray(0, r).map(Math.sqrt))
  return {
    S,
    frobenius: frobeniusNorm(S),
    rounding: Math.max(B.rows, A.columns) * 2 ** -52 * sizeOfTerms(left.R, right.R, D),
    grams: () => ({ B: left.gram(), A: right.gram() }),
    factors: (r) => ({ B: left.expand(weighted(U, r)), A: right.expand(weighted(V, r)) }),
    directions: (r) => ({
      U: left.expand(leadingColumns(U, r)),
      Vt: right.expand(leadingColumns(V, r)),
    }),
    distance: (other) => distanceOf(engine, core, left.split(other.B), right.split(other.A)),
  }
}

/** ‖core − other‖_F in the two bases together with what other has outside of them: four parts in spaces that are orthogonal. */
function distanceOf(engine: ProductEngine, core: Float64Matrix, B: Split, A: Split): number {
  const along = engine.multiply(B.along, A.along, { transposeB: true })
  const inside = core.data.slice()
  for (let i = 0; i < inside.length; i++) inside[i] -= along.data[i]
  const ofB = B.across && engine.gram(B.across)
  const ofA = A.across && engine.gram(A.across, 'rows')
  return Math.hypot(
    frobeniusNorm(inside),
    ofB === undefined ? 0 : normOfProduct(engine, ofB, engine.gram(A.along), B.across!, transpose(A.along)),
    ofA === undefined ? 0 : normOfProduct(engine, engine.gram(B.along), ofA, B.along, A.across!),
    ofA === undefined || ofB === undefined ? 0 : normOfProduct(engine, ofB, ofA, B.across!, A.across!),
  )
}

/** How much of the terms of a trace has to be left for its sum to be right to 12 digits or more. */
const LEAST_LEFT = 1e-3

/**
 * ‖X·Y‖_F = √tr(G·H) of X [m, p] and Y [p, k], from G = XᵀX and H = YYᵀ. Where the terms of the trace cancel each other, from the product
 * with the triangle of X.
 */
function normOfProduct(engine: ProductEngine, G: Matrix, H: Matrix, X: Matrix, Y: Matrix): number {
  let [sum, size] = [0, 0]
  for (let i = 0; i < G.data.length; i++) {
    const term = G.data[i] * H.data[i]
    sum += term
    size += Math.abs(term)
  }
  if (sum >= LEAST_LEFT * size && isSquarable(Math.sqrt(size))) return Math.sqrt(sum)
  const R = X.rows > X.columns ? engine.qr(X).R : X
  return frobeniusNorm(engine.multiply(R, Y).data)
}

function timesDiagonal({ rows, columns, data }: Float64Matrix, D: Float64Array): Float64Matrix {
  const out = data.slice()
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[i * columns + j] *= D[j]
  return { rows, columns, data: out }
}

/** Σ ‖bⱼ‖·|dⱼ|·‖aⱼ‖: the size of what is added up in the product. */
function sizeOfTerms(left: Float64Matrix, right: Float64Matrix, D?: Float64Array): number {
  const [b, a] = [columnNorms(left), columnNorms(right)]
  return b.reduce((sum, norm, j) => sum + norm * Math.abs(D?.[j] ?? 1) * a[j], 0)
}

function columnNorms(X: Float64Matrix): number[] {
  const { rows, columns, data } = transpose(X)
  return Array.from({ length: rows }, (_, j) => frobeniusNorm(data.subarray(j * columns, (j + 1) * columns)))
}
