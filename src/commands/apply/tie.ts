import { type TiedHead, tiedPair } from '../../checkpoint/correspondence.ts'
import { sameNumbers } from '../../checkpoint/models.ts'
import { elementCount } from '../../checkpoint/read.ts'
import type { Checkpoint, StoredTensor } from '../../checkpoint/types.ts'
import type { Change } from '../../update/change.ts'

/** What is to be done about a head that the base ties to its embedding. */
export interface Tie {
  /** The changes, with one of the head where it follows the embedding, and without where the two stay one. */
  readonly changes: readonly Change[]
  /** The head is written as a tensor of its own from now on. */
  readonly untied?: Untied
  /** The embedding is changed, and whether a head is tied to it can't be told. */
  readonly isUnknown: boolean
}

export interface Untied {
  readonly head: string
  readonly embedding: string
  /** Of a head that the base doesn't store: where its numbers are now. */
  readonly copied?: StoredTensor
}

/** The base with the head that it ties to its embedding, so that an adapter's head finds it. */
export function withTiedHead(base: Checkpoint): {
  readonly base: Checkpoint
  readonly tied: TiedHead | undefined
} {
  const tied = tiedPair(base)
  if (tied === undefined || tied.isStored) return { base, tied }
  const head = { ...tied.embedding, name: tied.head }
  return { base: { ...base, tensors: new Map([...base.tensors, [head.name, head]]) }, tied }
}

/**
 * An adapter of the embedding acts on the lookup alone, and one of the head on the head alone (PEFT, at run time): where they come apart,
 * the head becomes a tensor of its own. A vocabulary of another length takes its head along, and so do rows that are trained alone.
 */
export async function tieOf(changes: readonly Change[], tied: TiedHead | undefined): Promise<Tie> {
  if (tied === undefined) return { changes, isUnknown: false }
  const { head, embedding, isStored } = tied
  const ofHead = changes.find(({ name }) => name === head)
  const ofEmbedding = changes.find(({ name }) => name === embedding.name)
  if (ofHead === undefined && ofEmbedding === undefined) return { changes, isUnknown: false }
  if (await isOne(ofHead, ofEmbedding)) {
    return { changes: isStored ? changes : changes.filter((one) => one !== ofHead), isUnknown: false }
  }
  // of rows that are trained alone PEFT makes those of a tied head too (tuners/trainable_tokens, tied adapters)
  const isOfBoth =
    ofHead === undefined &&
    ofEmbedding !== undefined &&
    (elementCount(embedding) !== countOf(ofEmbedding) || ofEmbedding.replacement?.rows !== undefined)
  if (isOfBoth) {
    const follows = isStored ? [{ ...ofEmbedding, name: head }] : []
    return { changes: [...changes, ...follows], isUnknown: false }
  }
  if (ofHead === undefined && !tied.isCertain) return { changes, isUnknown: true }
  const isCopied = ofHead === undefined && !isStored
  return {
    changes,
    untied: { head, embedding: embedding.name, ...(isCopied && { copied: { ...embedding, name: head } }) },
    isUnknown: false,
  }
}

const countOf = ({ shape }: Change) => shape.reduce((product, n) => product * n, 1)

/** Both are replaced by the same numbers. */
async function isOne(a: Change | undefined, b: Change | undefined): Promise<boolean> {
  if (a?.replacement === undefined || b?.replacement === undefined) return false
  return sameNumbers(a.replacement.tensor, b.replacement.tensor)
}
