import type { NotLoaded } from '../../lora/found-by-loaders.ts'
import type { NotCarried, VerifiedLayer, VerifiedTensor } from '../../measure/result.ts'

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
