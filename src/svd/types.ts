import type { Float64Matrix, Matrix } from '../matrix/matrix.ts'

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
}
