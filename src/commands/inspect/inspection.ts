import type { Skipped } from '../../checkpoint/types.ts'
import type { StoredDtype } from '../../formats/dtype.ts'
import type { LoaderScale } from '../../lora/loader-scales.ts'
import type { TargetModule } from '../../lora/model.ts'
import type { Matching } from '../../report/notes.ts'
import type { InspectResult, NonFinite } from './result.ts'
import type { Finding } from './work.ts'

/**
 * All that a report is made from, as plain data: what the parts of several processes hold, put together, is what one finds by itself, and
 * all that follows is the same.
 */
export interface Inspection {
  readonly source: InspectResult['source']
  readonly kind: InspectResult['subject']
  /** Of each matrix, in the order of the file. */
  readonly facts: readonly SubjectFacts[]
  readonly findings: readonly Finding[]
  /** In what is no matrix. */
  readonly nonFinite: readonly NonFinite[]
  readonly skipped: readonly Skipped[]
  readonly matching?: Matching
  /** Where ranks of the next run may be asked for. */
  readonly modules?: ModelModules
  readonly warnings: readonly string[]
  /** Of computing. */
  readonly seconds: number
}

/** What is known of a matrix without its numbers. */
export interface SubjectFacts {
  readonly name: string
  readonly storedShape: readonly number[]
  /** Of what is looked at, in which factors of it would be stored. */
  readonly dtype: StoredDtype
  readonly bytes: number
  /** Of the weights before, or of those that an adapter is added to. */
  readonly baseDtype?: StoredDtype
  /** Of an adapter's module. */
  readonly adapter?: {
    readonly rank: number
    readonly alpha?: number
    readonly scale: number
    readonly scales: readonly LoaderScale[]
  }
}

/** The modules of a model that can be trained. */
export interface KnownModules {
  /** For each matrix the module it is the weight of, or why it is none. */
  readonly trained: readonly (TargetModule | { readonly reason: string })[]
  /** Of all the model's modules, where the model is known. */
  readonly paths?: readonly string[]
  /** Else the `target_modules` of an adapter's own config, and of how many modules they are. */
  readonly own?: { readonly targets: readonly string[] | string; readonly count: number }
}

/** The same, or why no ranks can be told from what is looked at. */
export type ModelModules = KnownModules | { readonly reason: string }
