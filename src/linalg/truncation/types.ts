import type { Engine } from '../engine.ts'
import type { Float64Matrix } from '../matrix/matrix.ts'
import type { RankLimits, RankRule } from '../spectrum/rules.ts'
import type { StreamKeys } from './streams.ts'

export type TruncationEngine = Pick<Engine, 'multiply' | 'gram' | 'symmetricEigen' | 'svd' | 'resident'>

/** A closed interval. */
export interface Interval {
  readonly atLeast: number
  readonly atMost: number
}

export interface Certificate {
  /** 'probabilistic' holds but for `failureProbability`, over the tool's own seed; 'none' where none was asked for. */
  readonly kind: 'deterministic' | 'probabilistic' | 'none'
  readonly failureProbability: number
  /** ‖A − A_r‖₂ = σ_{r+1} of the best approximation, in the unit of A's entries. */
  readonly spectral: Interval
  /** The interval of the relative error is as narrow as asked, or its error below what the data's precision can show. */
  readonly closed: boolean
  /** The relative error is at most 4 epsilons of the data's type: a matrix of this rank, but for rounding. */
  readonly belowRounding: boolean
  /** Why the interval is not closed. */
  readonly reason?: string
}

/** A ≈ U·diag(S)·Vᵀ: U [m, r] and V [k, r] orthonormal, S [r] non-increasing, the largest entry of each left vector positive. */
export interface TruncatedSvd {
  readonly U: Float64Matrix
  readonly S: Float64Array
  readonly V: Float64Matrix
  readonly rank: number
  /** All singular values, where the method computes them. */
  readonly spectrum?: Float64Array
  /** ‖A‖_F. */
  readonly frobenius: number
  /** ‖A − A_r‖_F / ‖A‖_F of the best approximation; `atMost` is also what these U, S, V achieve. */
  readonly optimalError: Interval
  readonly certificate: Certificate
  readonly method: 'krylov' | 'full'
}

export interface TruncationOptions {
  readonly engine: TruncationEngine
  readonly limits?: RankLimits
  /** Same seed, name and entries, same bits. 0 when left out. */
  readonly seed?: bigint | number
  /** Such as the tensor's: gives each matrix its own random stream, whatever the order of work. */
  readonly name?: string
  readonly certify?: 'default' | 'strict' | 'none'
  /** Width of the interval at which to stop: atMost / atLeast − 1. 0.01 when left out. */
  readonly goal?: number
  /**
   * Largest share of the short side that the Krylov basis may take before the full SVD does it: 0 for the full SVD at once,
   * above 1 to always try.
   */
  readonly largestShare?: number
  /** ‖A‖_F where it is known already, from sums in float64. */
  readonly frobenius?: number | undefined
}

/** What to do, all defaults filled in. */
export interface TruncationPlan {
  readonly engine: TruncationEngine
  readonly rule: RankRule
  readonly limits: RankLimits
  /** Of the random streams. */
  readonly keys: StreamKeys
  readonly certify: NonNullable<TruncationOptions['certify']>
  readonly goal: number
  /** Most columns of the basis. */
  readonly cap: number
}
