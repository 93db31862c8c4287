import type { StoredTensor } from '../checkpoint/types.ts'
import type { PlacedRows } from '../lora/fit.ts'
import { type AdapterModule, ofExpert } from '../lora/model.ts'

/** What becomes of one tensor of a checkpoint. Plain data, so that a worker can be sent it. */
export interface Change {
  /** The tensor's name in what is written. */
  readonly name: string
  /** Where its numbers are now; undefined of a tensor that the base hasn't. */
  readonly base?: StoredTensor
  /** As it is written. */
  readonly shape: readonly number[]
  /** How many matrices it holds, and each one's size: a kernel's is [out, in·kh·kw], a vector's [1, n]. */
  readonly matrices: number
  readonly rows: number
  readonly columns: number
  /** Added: Σ weight·scale·B·A. */
  readonly factors: readonly FactorTerm[]
  /** Added: Σ factor·T, each of the tensor's own size or of some of its rows. */
  readonly dense: readonly DenseTerm[]
  /** What is made of the sum then. */
  readonly rescale?: Rescale
  /** Takes the tensor's place; nothing is added then. */
  readonly replacement?: Replacement
}

export interface FactorTerm {
  readonly module: AdapterModule
  readonly weight: number
  /** The adapter's path, for messages. */
  readonly path: string
}

export interface DenseTerm {
  readonly tensor: StoredTensor
  /** The entry of the weight at which its own begin. */
  readonly first: number
  readonly factor: number
  readonly path: string
}

export interface Replacement {
  readonly tensor: StoredTensor
  /** It takes the place of these rows alone, in their order (PEFT's trainable tokens). */
  readonly rows?: readonly number[]
  readonly path: string
}

/**
 * DoRA (Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", 2024): each row or column v of the sum becomes
 * v·(1 + share·(m/(‖v‖ + epsilon) − 1)).
 */
export interface Rescale {
  /** Each from the row on at which it begins; rows without one stay as they are. Of columns one for all of them. */
  readonly magnitudes: readonly PlacedRows[]
  /** Of the matrix as it is stored: what one entry of a magnitude is for. */
  readonly axis: 'rows' | 'columns'
  /** Neighbouring columns that share an entry, as those of a kernel do; 1 where `axis` is rows. */
  readonly group: number
  readonly epsilon: number
  readonly share: number
  readonly path: string
}

/** Whether kernels can do it: a sum of products alone. */
export const isPlainSum = ({ dense, rescale, replacement, factors }: Change) =>
  factors.length > 0 && dense.length === 0 && rescale === undefined && replacement === undefined

/** How many ranks the factors have together. */
export const rankOf = ({ factors }: Change) => factors.reduce((sum, { module }) => sum + module.rank, 0)

/** The change as far as it bears on the matrix of this index: of stacked experts one's factors. */
export const ofMatrix = (change: Change, index: number): Change =>
  change.matrices === 1
    ? change
    : {
        ...change,
        factors: change.factors.map((term) => ({ ...term, module: ofExpert(term.module, index) })),
      }
