import type { MatrixData } from '../../commands/inspect/html/data.ts'
import type { ProgressEvent } from '../../jobs/context.ts'
import type { PlainError } from '../../jobs/worker.ts'
import type { Hiring } from '../host/jobs/hiring.ts'
import type { Inputs } from './inputs.ts'

/** What the page and the workers that have its files say to each other. */

/** What a desk is asked to do: the one task of its life. */
export type Task =
  | { readonly kind: 'inspect'; readonly inputs: Inputs; readonly only?: string }
  | { readonly kind: 'factor'; readonly inputs: Inputs; readonly name: string; readonly rank: number }
  | { readonly kind: 'adapter'; readonly inputs: Inputs; readonly rank: number; readonly only?: string }

/** A matrix, delta or module before it is looked at. */
export interface Row {
  readonly name: string
  readonly shape: readonly [rows: number, columns: number]
  readonly dtype: string
}

/** What became of a row. */
export type Found =
  | { readonly kind: 'spectrum'; readonly grid: readonly number[]; readonly matrix: MatrixData }
  | { readonly kind: 'equal' }
  | { readonly kind: 'not-finite'; readonly text: string }

/** A file to be downloaded. */
export interface Made {
  readonly name: string
  readonly blob: Blob
}

/** All that is said of all matrices together. */
export interface Summary {
  readonly title: string
  readonly more: string
  readonly source: string
  readonly base?: string
  readonly figures: readonly (readonly [what: string, how: string])[]
  readonly advice?: { readonly rank?: number; readonly reason: string }
  readonly notices: readonly string[]
  readonly unchanged: readonly string[]
  readonly skipped: readonly { readonly name: string; readonly reason: string }[]
  readonly engine: string
  readonly seconds: number
  readonly files: readonly Made[]
}

/** What `extract` or `factor` has made, and how near it is. */
export interface Factored {
  readonly files: readonly Made[]
  readonly rank: number
  readonly relativeError: number
  readonly optimalError: { readonly atLeast: number; readonly atMost: number } | undefined
  readonly layers: number
  /** What changed and isn't in it. */
  readonly left: readonly { readonly name: string; readonly reason: string }[]
  readonly notes: readonly string[]
  readonly seconds: number
  readonly engine: string
}

/** What a task tells before it is done. */
export type Told =
  | {
      readonly type: 'opened'
      readonly subject: 'weights' | 'delta' | 'adapter'
      readonly rows: readonly Row[]
    }
  | { readonly type: 'found'; readonly index: number; readonly found: Found }
  | { readonly type: 'progress'; readonly event: ProgressEvent }
  | { readonly type: 'notice'; readonly line: string }

export interface Results {
  readonly inspect: Summary
  readonly factor: Factored
  readonly adapter: Factored
}

/** From a desk. */
export type FromDesk =
  | Told
  | { readonly type: 'done'; readonly result: Results[keyof Results] }
  | { readonly type: 'failed'; readonly error: PlainError }
  | Hiring

/** To a desk. */
export type ToDesk =
  | { readonly type: 'task'; readonly task: Task }
  | { readonly type: 'lost'; readonly id: number; readonly problem: string }
