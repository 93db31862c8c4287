import type { Engine } from '../engine.ts'
import { type Float64Matrix, leadingColumns, type Matrix, toFloat64, transpose } from '../matrix/matrix.ts'
import { frobeniusNorm } from '../matrix/norms.ts'
import type { Factors, Svd } from '../svd/svd.ts'

/** What multiplies and decomposes. */
export type ProductEngine = Pick<Engine, 'multiply' | 'gram' | 'qr' | 'svd'>

/** The singular value decomposition of a product B·A that is never formed. */
export interface ProductSvd {
  /** All singular values but those that are zero by the shapes, non-increasing. */
  readonly S: Float64Array
  /** ‖B·A‖_F. */
  readonly frobenius: number
  /** At least how far each singular value may be off by rounding: what is smaller says nothing. */
  readonly rounding: number
  /** The leading `rank` triplets: U [m, rank], V [k, rank]. */
  leading(rank: number): Svd
  /** ‖B·A − B'·A'‖_F of other factors, without forming either product. */
  distance(other: Factors): number
}

/** X = Q·R with orthonormal columns in Q; where X is not tall, Q is the identity and left out. */
interface Basis {
  readonly Q: Float64Matrix | undefined
  readonly R: Float64Matrix
}

/**
 * The SVD of B·A, B [m, r] and A [r, k], in float64: QR of both factors, then the SVD of the small product of their triangles
 * (Golub and Van Loan, Matrix Computations, 4th edition, 5.4.1 and 8.6). A factor that has no more rows than columns is its own
 * triangle. Householder QR errs by ε times the norm of each column, whatever the others' are, so that factors may be scaled as they
 * like. Throws LoraSvdError 'not-finite' on NaN and infinity, RangeError where the shapes don't fit.
 */
export function productSvd(engine: ProductEngine, B: Matrix, A: Matrix): ProductSvd {
  if (B.columns !== A.rows) throw new RangeError(`[${B.rows}, ${B.columns}] · [${A.rows}, ${A.columns}]`)
  const left = basisOf(engine, B)
  const right = basisOf(engine, transpose(A))
  const core = engine.multiply(left.R, right.R, { transposeB: true }) as Float64Matrix
  const { U, S, V } = engine.svd(core, 'thin')
  const expand = ({ Q }: Basis, X: Float64Matrix): Float64Matrix =>
    Q === undefined ? X : (engine.multiply(Q, X) as Float64Matrix)
  return {
    S,
    frobenius: frobeniusNorm(S),
    rounding: Math.max(B.rows, A.columns) * 2 ** -52 * sumOfColumnNorms(left.R, right.R),
    leading: (rank) => ({
      U: expand(left, leadingColumns(U, rank)),
      S: S.subarray(0, rank),
      V: expand(right, leadingColumns(V, rank)),
    }),
    distance: (other) => {
      const [Bs, As] = [split(engine, left, other.B), split(engine, right, transpose(other.A))]
      const along = engine.multiply(Bs.along, As.along, { transposeB: true })
      const inside = frobeniusNorm(core.data.map((x, i) => x - along.data[i]))
      // the four parts lie in spaces that are orthogonal to each other
      return Math.hypot(
        inside,
        Bs.across === undefined ? 0 : normOfProduct(engine, Bs.across, As.along),
        As.across === undefined ? 0 : normOfProduct(engine, As.across, Bs.along),
        Bs.across === undefined || As.across === undefined ? 0 : normOfThin(engine, Bs.across, As.across),
      )
    },
  }
}

function basisOf(engine: ProductEngine, X: Matrix): Basis {
  if (X.rows <= X.columns) return { Q: undefined, R: toFloat64(X) }
  return engine.qr(X)
}

/** Σ ‖bⱼ‖·‖aⱼ‖: the size of what is added up in the product. */
function sumOfColumnNorms(left: Matrix, right: Matrix): number {
  const [b, a] = [columnNorms(left), columnNorms(right)]
  return b.reduce((sum, norm, j) => sum + norm * a[j], 0)
}

function columnNorms({ rows, columns, data }: Matrix): Float64Array {
  const norms = new Float64Array(columns)
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) norms[j] = Math.hypot(norms[j], data[i * columns + j])
  }
  return norms
}

/** Factors split into what lies in the span of a basis, in its coordinates, and the rest. */
interface Split {
  readonly along: Float64Matrix
  readonly across?: Float64Matrix
}

function split(engine: ProductEngine, { Q }: Basis, X: Matrix): Split {
  if (Q === undefined) return { along: toFloat64(X) }
  const along = engine.multiply(Q, X, { transposeA: true }) as Float64Matrix
  const inside = engine.multiply(Q, along)
  const data = Float64Array.from(X.data, (x, i) => x - inside.data[i])
  return { along, across: { rows: X.rows, columns: X.columns, data } }
}

const normOfProduct = (engine: ProductEngine, X: Matrix, Y: Matrix): number =>
  frobeniusNorm(engine.multiply(X, Y, { transposeB: true }).data)

/** ‖X·Yᵀ‖_F = √tr(XᵀX·YᵀY) of two tall matrices: a sum of what is not negative, so that nothing cancels. */
function normOfThin(engine: ProductEngine, X: Matrix, Y: Matrix): number {
  const [G, H] = [engine.gram(X), engine.gram(Y)]
  return Math.sqrt(
    Math.max(
      0,
      G.data.reduce((sum, g, i) => sum + g * H.data[i], 0),
    ),
  )
}
