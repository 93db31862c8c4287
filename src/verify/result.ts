import type { NotLoaded } from '../adapter/found-by-loaders.ts'

/** How much of a layer's delta an adapter reproduces. */
export interface VerifiedLayer {
  /** The tensor's name in the tuned checkpoint. */
  readonly name: string
  readonly shape: readonly [rows: number, columns: number]
  /** Rows of A as stored. */
  readonly rank: number
  readonly scale: number
  /** ‖tuned − base‖_F. */
  readonly deltaFrobenius: number
  /** ‖tuned − base − scale·B·A‖_F, summed in float64. */
  readonly residualFrobenius: number
  readonly baseFrobenius: number
  /** residualFrobenius / deltaFrobenius: 0 where both are 0, infinite where only the delta is. */
  readonly relativeError: number
}

/** A tensor that the adapter replaces as a whole. */
export interface VerifiedTensor {
  readonly name: string
  readonly relativeError: number
  readonly deltaFrobenius: number
  readonly residualFrobenius: number
}

/** A tensor that changed and that the adapter leaves as it was. */
export interface NotCarried {
  readonly name: string
  readonly reason: string
  /** ‖tuned − base‖_F / ‖base‖_F; undefined where one of the two has none of it. */
  readonly relativeChange?: number
  readonly deltaFrobenius?: number
}

export interface VerifyResult {
  readonly adapter: string
  readonly base: string
  readonly tuned: string
  readonly layers: readonly VerifiedLayer[]
  readonly replaced: readonly VerifiedTensor[]
  readonly notCarried: readonly NotCarried[]
  readonly unchanged: readonly string[]
  /** Modules that a loader of such adapters would take for nothing. */
  readonly notLoaded: readonly NotLoaded[]
  readonly worst?: { readonly name: string; readonly relativeError: number }
  readonly totals: {
    /** Over what the adapter carries. */
    readonly relativeError: number
    /** Over all that changed; what one of the two lacks counts as zero. */
    readonly wholeRelativeError: number
    /** Tensors that both have, or that the adapter stores whole. */
    readonly matched: number
    /** Tensors that one of the two alone has, or that can't be compared. */
    readonly unmatched: number
  }
  readonly maxError?: number
  readonly holds: boolean
  readonly warnings: readonly string[]
  readonly seconds: number
}

/** residual / delta as relative errors count it. */
export const relative = (residual: number, delta: number): number => (residual === 0 ? 0 : residual / delta)
