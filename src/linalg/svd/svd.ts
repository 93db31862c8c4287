import { requireFinite } from '../matrix/finite.ts'
import {
  type Float64Matrix,
  leadingColumns,
  type Matrix,
  scaledColumns,
  transpose,
  zeros,
} from '../matrix/matrix.ts'
import { isLong } from './bidiagonal.ts'
import {
  BIDIAGONAL_ORDER,
  bidiagonalValues,
  gramSvd,
  gramValues,
  JACOBI_ORDER,
  type RowSvd,
  Span,
} from './gram-svd.ts'
import { jacobiSvd } from './jacobi.ts'
import { type Block, block, type Kernels, transposeBlock } from './kernels.ts'
import { preconditionedJacobi, preconditionedJacobiValues } from './preconditioned-jacobi.ts'
import { fixSignsOfRows, scaleByPowerOfTwo, scaleToOne } from './scaling.ts'

/** Which of the singular or eigen vectors to compute. */
export type Vectors = 'none' | 'thin'

/** A = U · diag(S) · Vᵀ, thin: U [m, n], S [n] non-increasing, V [k, n] with n = min(m, k). Empty U, V for 'none'. */
export interface Svd {
  readonly U: Float64Matrix
  readonly S: Float64Array
  readonly V: Float64Matrix
}

/** G = Q · diag(values) · Qᵀ, eigenvalues ascending, eigenvectors in the columns of Q. Q is empty for 'none'. */
export interface SymmetricEigen {
  readonly values: Float64Array
  readonly vectors: Float64Matrix
}

/** The decompositions that every engine offers. */
export interface Decompositions {
  /** A = Q·R, thin Householder QR in float64. A [m, n], m ≥ n. Q [m, n], R [n, n] upper triangular. */
  qr(A: Matrix): { Q: Float64Matrix; R: Float64Matrix }
  /** Eigenvalues and, unless 'none', eigenvectors of a symmetric float64 matrix. */
  symmetricEigen(G: Float64Matrix, vectors: Vectors): SymmetricEigen
  /** The thin SVD; values alone for 'none'. */
  svd(A: Matrix, vectors: Vectors): Svd
  /** All singular values, and the vectors of the first `count(S)` of them. */
  leadingSvd(A: Matrix, count: (S: Float64Array) => number): Svd
}

/** Side of the squares that are transposed at a time: both sides stay in the first-level cache. */
const TILE = 16

/** The vectors along the shorter side of A as float64 rows [n, m], n ≤ m: Aᵀ for a tall or square A, A for a wide one. */
export function shortSideRows(kernels: Kernels, { rows, columns, data }: Matrix): Block {
  const copy = kernels.allocate(rows * columns)
  if (rows < columns) {
    copy.set(data)
    return block(copy, rows, columns)
  }
  for (let i0 = 0; i0 < rows; i0 += TILE) {
    const i1 = Math.min(rows, i0 + TILE)
    for (let j0 = 0; j0 < columns; j0 += TILE) {
      const j1 = Math.min(columns, j0 + TILE)
      for (let j = j0; j < j1; j++) for (let i = i0; i < i1; i++) copy[j * rows + i] = data[i * columns + j]
    }
  }
  return block(copy, columns, rows)
}

/** The same with entries of at most 1: A's are 2^exponent times as large. Throws LoraSvdError 'not-finite' on NaN and infinity. */
export function scaledRows(kernels: Kernels, A: Matrix): { readonly Xt: Block; readonly exponent: number } {
  const Xt = shortSideRows(kernels, A)
  // says where they are, which kernels don't
  if (!Number.isFinite(kernels.largestAbs(Xt.data))) requireFinite(A)
  return { Xt, exponent: scaleToOne(Xt.data, kernels) }
}

/** W ≈ B·A with B = U_r·diag(S_r) [d, r] and A = V_rᵀ [r, k]: the notebook's two factors. */
export interface Factors {
  readonly B: Matrix
  readonly A: Matrix
}

/** The factors of the best approximation of rank r (Eckart & Young 1936). r ≤ S.length. */
export function factorsOf({ U, S, V }: Svd, r: number): Factors {
  return { B: scaledColumns(U, S.subarray(0, r)), A: transpose(leadingColumns(V, r)) }
}

/** The same product with √S_r on both sides: B = U_r·√S_r, A = √S_r·V_rᵀ, so that neither is large where S is. */
export function balancedFactors({ U, S, V }: Svd, r: number): Factors {
  const roots = S.subarray(0, r).map(Math.sqrt)
  return { B: scaledColumns(U, roots), A: transpose(scaledColumns(V, roots)) }
}

/** From this condition on, float64 data have singular values whose digits only Jacobi keeps. */
const ILL_CONDITIONED = 1e7

/** Largest order for which those digits are bought with Jacobi sweeps, up to a third of a second; beyond it they are only absolute. */
const ACCURATE_ORDER = 192

/**
 * The thin SVD of A [m, k], or its singular values alone for 'none', in float64 arithmetic whatever A is stored in.
 * U and V are orthonormal to rounding for every rank; the largest entry of each left vector is positive.
 *
 * Accuracy of S, vectors or not: |error| ≤ p·eps·S(0) with eps = 2⁻⁵³ for float64 A and 2⁻³³ for float32 A, p a modest
 * polynomial of the size. For min(m, k) ≤ 64, and for float64 A of condition above 1e7 up to 192, small singular
 * values also keep their relative accuracy where the matrix determines it (well-conditioned but for column scaling).
 * 2^j·A has the vectors of A, bit for bit.
 *
 * Throws LoraSvdError 'not-finite' on NaN and infinity, 'no-convergence' should an iteration fail.
 */
export function fullSvd(A: Matrix, vectors: Vectors, kernels: Kernels): Svd {
  const n = Math.min(A.rows, A.columns)
  if (n === 0) return vectors === 'none' ? valuesOnly(new Float64Array(0)) : emptySvd(A)
  if (n <= JACOBI_ORDER) {
    requireFinite(A)
    return jacobiSvd(A, vectors, kernels)
  }
  return kernels.scope(() => {
    const { Xt, exponent } = scaledRows(kernels, A)
    if (vectors === 'none') {
      const S = values(kernels, Xt, A)
      scaleByPowerOfTwo(S, exponent)
      return valuesOnly(S)
    }
    const svd = decompose(kernels, Xt, A)
    scaleByPowerOfTwo(svd.S, exponent)
    const [Ut, Vt] = A.rows >= A.columns ? [svd.Ut, svd.Vt] : [svd.Vt, svd.Ut]
    fixSignsOfRows(kernels, Ut, Vt)
    return { U: columnsOf(Ut), S: svd.S, V: columnsOf(Vt) }
  })
}

function decompose(kernels: Kernels, Xt: Block, A: Matrix): RowSvd {
  const svd = gramSvd(kernels, Xt, spanOf(A))
  return needsJacobi(A, svd.S) ? preconditionedJacobi(kernels, Xt) : svd
}

function values(kernels: Kernels, Xt: Block, A: Matrix): Float64Array {
  const S = isBidiagonalised(A) ? bidiagonalValues(kernels, Xt) : gramValues(kernels, Xt, spanOf(A))
  return needsJacobi(A, S) ? preconditionedJacobiValues(kernels, Xt) : S
}

/** Where that is faster than products, which are ahead by one half where a matrix is long and one pass through its Gram matrix enough. */
function isBidiagonalised({ rows, columns, data }: Matrix): boolean {
  const order = Math.min(rows, columns)
  const long = isLong(order, Math.max(rows, columns))
  if (data instanceof Float64Array) return order <= BIDIAGONAL_ORDER[long ? 'float64Long' : 'float64']
  return !long && order <= BIDIAGONAL_ORDER.float32
}

function spanOf(A: Matrix): number {
  return A.data instanceof Float64Array ? Span.float64 : Span.float32
}

function needsJacobi(A: Matrix, S: Float64Array): boolean {
  return (
    A.data instanceof Float64Array &&
    S.length <= ACCURATE_ORDER &&
    S[0] > 0 &&
    S[S.length - 1] * ILL_CONDITIONED < S[0]
  )
}

const valuesOnly = (S: Float64Array): Svd => ({ U: zeros(0, 0), S, V: zeros(0, 0) })

const emptySvd = (A: Matrix): Svd => ({ U: zeros(A.rows, 0), S: new Float64Array(0), V: zeros(A.columns, 0) })

/** The rows of X as columns of a matrix of its own. */
export function columnsOf(X: Block): Float64Matrix {
  const out = zeros(X.columns, X.rows)
  transposeBlock(X, block(out.data, X.columns, X.rows))
  return out
}

/** How many numbers a matrix W [d, k] has, and how many the factors B [d, r] and A [r, k] in its place; `ratio` is theirs to its. */
export interface ElementCounts {
  readonly W: number
  readonly B: number
  readonly A: number
  readonly factors: number
  readonly ratio: number
}

/** The counts for W of this shape and factors of this rank. */
export function elementCounts(
  { rows, columns }: { readonly rows: number; readonly columns: number },
  rank: number,
): ElementCounts {
  const [W, B, A] = [rows * columns, rows * rank, rank * columns]
  return { W, B, A, factors: B + A, ratio: (B + A) / W }
}
