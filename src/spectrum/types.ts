import type { Interval } from '../truncation/types.ts'

export type { Interval } from '../truncation/types.ts'

/** A closed range of integers; a known one has atLeast = atMost. */
export interface IntegerRange {
  readonly atLeast: number
  readonly atMost: number
}

/** How far what is given may be off because it was rounded. */
export interface Rounding {
  /** Of each Sᵢ, relative to ‖A‖_F. */
  readonly value: number
  /** Of ΣSᵢ², relative to ‖A‖_F². */
  readonly squares: number
}

/** What is known of the singular values σ of a matrix A [rows, columns]. */
export interface Spectrum {
  readonly rows: number
  readonly columns: number
  /** ‖A‖_F. */
  readonly frobenius: number
  /**
   * The leading singular values, non-increasing. Where `complete`, those that are not given are zero: of a product of
   * factors of rank r there are r. Else each is at most the true σ, within `rounding`.
   */
  readonly singularValues: Float64Array
  readonly complete: boolean
  /** At least Σ(σᵢ² − Sᵢ²) / ‖A‖_F² over the singular values that are given; 0 where complete. */
  readonly excess: number
  /** The same over the first r of them, at [r], non-decreasing; where it is left out `excess` holds for every r. */
  readonly excesses?: Float64Array
  /** Where it is left out, as little as float64 sums are off. */
  readonly rounding?: Rounding
  /** The first singular value that is not given; both 0 where complete. */
  readonly next: Interval
  /** eps of the float type that the entries have: 2⁻²³ for f32 and below, 2⁻⁵² for f64. */
  readonly epsilon: number
  /** `factors`: from the factors of a product B·A; `full` and `krylov` as of the truncated SVD. */
  readonly method: 'full' | 'krylov' | 'factors'
  /** What the bounds hold by: a proof, or a proof but for this probability. */
  readonly failureProbability: number
}

/** What one rank for all matrices would take and leave. */
export interface RankCost {
  readonly rank: number
  /** Entries of all factors; a matrix of lower order gets its order. */
  readonly parameters: number
  /** In the dtype each matrix is stored in. */
  readonly bytes: number
  /** √(Σ squared errors / Σ ‖·‖_F²) over the model, of the best approximations. */
  readonly relativeError: Interval
}
