import type { Float64Matrix, HalfMatrix, Matrix } from './matrix/matrix.ts'
import type { Decompositions } from './svd/svd.ts'

export type { HalfMatrix } from './matrix/matrix.ts'
export type { Svd, SymmetricEigen, Vectors } from './svd/svd.ts'

export type EngineName = 'js' | 'wasm' | 'lapack'

export interface MultiplyOptions {
  readonly transposeA?: boolean
  readonly transposeB?: boolean
}

/** Whose inner products a Gram matrix holds: those of the columns when left out. */
export type GramOf = 'columns' | 'rows'

/**
 * A matrix that stays where the engine works on it (for `wasm` in its linear memory), for methods that
 * sweep over it many times. Every result is a new matrix. Call `release` when done; later calls throw.
 */
export interface ResidentMatrix {
  readonly rows: number
  readonly columns: number
  /** A product with fewer columns takes hardly less time. */
  readonly leastColumns: number
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

/**
 * The dense kernels that the decompositions stand on. Typed arrays in, new typed arrays out, no state
 * between calls but what `resident` keeps. `js` is plain loops: slow, and the oracle of the others.
 */
export interface Engine extends Decompositions {
  readonly name: EngineName
  readonly threads: number
  /** op(A)·op(B). Float32 only where both are float32, else float64, as of 16-bit floats. */
  multiply(A: Matrix | HalfMatrix, B: Matrix | HalfMatrix, options?: MultiplyOptions): Matrix
  /**
   * The inner products of A's columns, Aᵀ·A, or of its rows, A·Aᵀ, with products and sums in float64 whatever A is stored in; exactly
   * symmetric.
   */
  gram(A: Matrix | HalfMatrix, of?: GramOf): Float64Matrix
  /** A, which must not change until it is released. */
  resident(A: Matrix | HalfMatrix): ResidentMatrix
}
