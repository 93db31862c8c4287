import type { Interval } from '../truncation/types.ts'

export type { Interval } from '../truncation/types.ts'

/** A closed range of integers; a known one has atLeast = atMost. */
export interface IntegerRange {
  readonly atLeast: number
  readonly atMost: number
}

/** What is known of the singular values σ of a matrix A [rows, columns]. */
export interface Spectrum {
  readonly rows: number
  readonly columns: number
  /** ‖A‖_F. */
  readonly frobenius: number
  /** The leading singular values, non-increasing: all min(rows, columns) of them where `complete`. Each is at most the true σ. */
  readonly singularValues: Float64Array
  readonly complete: boolean
  /** At least Σ(σᵢ² − Sᵢ²) / ‖A‖_F² over the singular values that are given; 0 where complete. */
  readonly excess: number
  /** The first singular value that is not given; both 0 where complete. */
  readonly next: Interval
  /** eps of the float type that the entries have: 2⁻²³ for f32 and below, 2⁻⁵² for f64. */
  readonly epsilon: number
  /** `factors`: from the factors of a product B·A; `full` and `krylov` as of the truncated SVD. */
  readonly method: 'full' | 'krylov' | 'factors'
  /** What the bounds hold by: a proof, or a proof but for this probability. */
  readonly failureProbability: number
}
