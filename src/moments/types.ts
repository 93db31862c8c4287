import type { StoredTensor } from '../checkpoint/types.ts'
import type { FileIdentity } from '../io/files.ts'

/** Second moments C = E[x·xᵀ] of the inputs of a layer, by where they lie: plain data, so that a worker can be sent them. */
export interface LayerMoments {
  /** As messages call the file. */
  readonly path: string
  /** What the file calls the entry. */
  readonly name: string
  /** All of C, or its diagonal alone. */
  readonly kind: MomentKind
  /** [k, k] or [k]; of a stack of experts [experts, k, k] or [experts, k]. */
  readonly tensor: StoredTensor
  /** The first of its numbers that is this layer's. */
  readonly from: number
  /** The inputs k of the layer. */
  readonly inputs: number
  /** What of W as stored they are: its columns, or its rows where W is [in, out]. */
  readonly side: 'columns' | 'rows'
  /** What the stored numbers are divided by. */
  readonly divisor: number
  /** How many inputs they are the mean of; undefined where the file doesn't say. */
  readonly samples?: number
}

export type MomentKind = 'full' | 'diagonal'

/** What a file holds for one weight. */
export interface MomentEntry {
  readonly name: string
  readonly kind: MomentKind
  /** [k, k] or [k]; of a stack of experts [experts, k, k] or [experts, k]. */
  readonly tensor: StoredTensor
  /** Sums over so many inputs; one number, or one for each expert. Of means 1. */
  readonly divisors: readonly number[]
  /** How many inputs, likewise. */
  readonly samples?: readonly number[]
  /** Experts that lie one after the other in one row of numbers. */
  readonly isFlat?: true
}

/** A file of moments, of which headers and counts have been read. */
export interface MomentFile {
  readonly path: string
  /** Whose names the weights have: the checkpoint's, or llama.cpp's. */
  readonly naming: 'checkpoint' | 'llama.cpp'
  readonly entries: ReadonlyMap<string, MomentEntry>
  readonly files: readonly FileIdentity[]
  readonly warnings: readonly string[]
}

/** What there is to tell of moments besides their numbers: how many inputs each is of. */
export const countsOf = ({ entries }: MomentFile) =>
  [...entries].map(([name, { divisors, samples }]) => [name, divisors, samples ?? null])
