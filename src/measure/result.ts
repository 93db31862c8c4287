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

/** residual / delta as relative errors count it. */
export const relative = (residual: number, delta: number): number => (residual === 0 ? 0 : residual / delta)
