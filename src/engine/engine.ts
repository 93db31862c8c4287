import type { Float64Matrix, Matrix } from '../matrix/matrix.ts'

export type EngineName = 'js' | 'wasm' | 'lapack'

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

export interface MultiplyOptions {
  readonly transposeA?: boolean
  readonly transposeB?: boolean
}

/**
 * A matrix that stays where the engine works on it (for `wasm` in its linear memory), for methods that
 * sweep over it many times. Every result is a new matrix. Call `release` when done; later calls throw.
 */
export interface ResidentMatrix {
  readonly rows: number
  readonly columns: number
  /** A·X in the float type of X. X [columns, b]. */
  multiply(X: Matrix): Matrix
  /** Aᵀ·Y in the float type of Y. Y [rows, b]. */
  multiplyTransposed(Y: Matrix): Matrix
  /** Aᵀ·(A·X) in one sweep over A, in the float type of X. X [columns, b]. */
  multiplyNormal(X: Matrix): Matrix
  /** ‖A‖_F², summed in float64. */
  frobeniusSquared(): number
  /** ‖A − B·C‖_F² with the differences formed and summed in float64. B [rows, r], C [r, columns]. */
  residualSquared(B: Matrix, C: Matrix): number
  release(): void
}

/** Values stored in half precision, read as they are: each is widened where it is used. */
export interface HalfMatrix {
  readonly rows: number
  readonly columns: number
  readonly dtype: 'bf16' | 'f16'
  readonly data: Uint16Array
}

/**
 * The dense kernels that the decompositions stand on. Typed arrays in, new typed arrays out, no state
 * between calls but what `resident` keeps. `js` is plain loops: slow, and the oracle of the others.
 */
export interface Engine {
  readonly name: EngineName
  readonly threads: number
  /** op(A)·op(B). Float32 only where both are float32, else float64. */
  multiply(A: Matrix, B: Matrix, options?: MultiplyOptions): Matrix
  /** Aᵀ·A with products and sums in float64 whatever A is stored in: [columns, columns], exactly symmetric. */
  gram(A: Matrix): Float64Matrix
  /** A = Q·R, thin Householder QR in float64. A [m, n], m ≥ n. Q [m, n], R [n, n] upper triangular. */
  qr(A: Matrix): { Q: Float64Matrix; R: Float64Matrix }
  /** Eigenvalues and, unless 'none', eigenvectors of a symmetric float64 matrix. */
  symmetricEigen(G: Float64Matrix, vectors: Vectors): SymmetricEigen
  /** The thin SVD; values alone for 'none'. */
  svd(A: Matrix, vectors: Vectors): Svd
  resident(A: Matrix | HalfMatrix): ResidentMatrix
}

/** The part of an engine that multiplies; decompositions are built on it. */
export type Products = Pick<Engine, 'name' | 'threads' | 'multiply' | 'gram' | 'resident'>
