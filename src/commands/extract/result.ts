import type { AskedRule } from '../../linalg/spectrum/rules.ts'
import type { Interval } from '../../linalg/spectrum/spectrum.ts'
import type { AdapterLayout } from '../../lora/write/peft.ts'
import type { NotCarried, VerifiedTensor } from '../../measure/result.ts'

/** One matrix as it was extracted and measured. */
export interface ExtractedLayer {
  /** The tensor's name in the tuned checkpoint. */
  readonly name: string
  readonly shape: readonly [rows: number, columns: number]
  /** Of the factors. */
  readonly dtype: string
  /** Directions that the factors carry; what is stored may be padded with zeros. */
  readonly rank: number
  readonly storedRank: number
  /** ‖Δ − B·A‖_F / ‖Δ‖_F, measured on what lies on disk. */
  readonly relativeError: number
  /** The same of the best approximation of that rank. */
  readonly optimalError: Interval
  /** ‖Δ‖_F. */
  readonly frobenius: number
  /** ‖Δ‖_F / ‖base‖_F. */
  readonly relativeChange: number
  /** Singular values up to this can't be told from the rounding of the stored dtypes; where the rule asked for it. */
  readonly noiseFloor?: number
  /** Why the interval of the best error is wider than asked, where it is. */
  readonly openBecause?: string
  readonly engine: string
  readonly seconds: number
}

/** What was promised of an adapter and does not hold. */
export interface BrokenPromise {
  readonly name: string
  readonly text: string
}

/** What a byte budget was spent on. */
export interface BudgetSpent {
  readonly bytes: number
  readonly used: number
  /** What any other split in this layout could at most take from the squared error, relative to Σ‖Δ‖_F². */
  readonly couldGain: number
}

export interface ExtractResult {
  readonly source: { readonly base: string; readonly tuned: string }
  readonly rule: AskedRule
  readonly layout: AdapterLayout
  readonly layers: readonly ExtractedLayer[]
  /** Written whole. */
  readonly saved: readonly VerifiedTensor[]
  readonly unchanged: readonly string[]
  readonly notCarried: readonly NotCarried[]
  readonly totals: {
    readonly layers: number
    /** Entries of the matrices that are carried. */
    readonly parameters: number
    /** Entries of the factors as stored. */
    readonly adapterParameters: number
    readonly ratio: number
    /** Over the layers, measured. */
    readonly relativeError: number
    /** Over all that changed; what one of the two lacks counts as zero. */
    readonly wholeRelativeError: number
    /** The best possible at these ranks, over the layers. */
    readonly optimalError: Interval
    /** Layers whose bounds hold but for a small chance each; left out where there are none. */
    readonly certified?: number
    /** Tensors that both models have, or that are stored whole. */
    readonly matched: number
    /** Tensors that one model alone has, or that can't be compared, and that aren't stored whole. */
    readonly unmatched: number
    readonly bytesRead: number
    readonly bytesWritten: number
  }
  readonly budget?: BudgetSpent
  /** One sentence about the change as a whole. */
  readonly verdict: string
  readonly broken: readonly BrokenPromise[]
  readonly holds: boolean
  readonly output: {
    readonly path: string
    readonly format: 'peft'
    readonly bytes: number
    readonly files: readonly string[]
  }
  /** Layers taken over from an earlier run that was killed. */
  readonly resumed: number
  readonly warnings: readonly string[]
  readonly seconds: number
  readonly engine: string
}

/** What a dry run says: all that headers and equal bytes tell. */
export interface ExtractPreview {
  readonly source: { readonly base: string; readonly tuned: string }
  readonly rule: AskedRule
  readonly layout: AdapterLayout
  readonly layers: readonly {
    readonly name: string
    readonly shape: readonly [rows: number, columns: number]
    /** As stored in the tuned checkpoint. */
    readonly dtype: string
    /** Where the rule tells before anything is computed. */
    readonly rank?: number
    /** Of both factors, where the rank is known. */
    readonly bytes?: number
  }[]
  readonly saved: readonly { readonly name: string; readonly bytes: number }[]
  readonly unchanged: readonly string[]
  readonly notCarried: readonly { readonly name: string; readonly reason: string }[]
  readonly totals: {
    readonly layers: number
    readonly parameters: number
    readonly matched: number
    readonly unmatched: number
  }
  readonly output: {
    readonly path: string
    readonly dtype: string
    /** Of the whole adapter, exactly, where the ranks are known. */
    readonly bytes?: number
    /** On the file system of the output. */
    readonly free: number
  }
  /** Layers that an unfinished run has done already. */
  readonly resumable: number
  readonly warnings: readonly string[]
}
