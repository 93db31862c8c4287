import { type AdapterLayout, factorShapes } from '../lora/write/peft.ts'
import type { Pair } from './target.ts'

/** A pair before its rank among the others is known. */
export type DraftedPair = Omit<Pair, 'rank' | 'storedRank' | 'shapes'> & {
  /** [kh, kw …] of a convolution's weight, [] of any other. */
  readonly kernel: readonly number[]
}

/**
 * The pairs with their stored ranks and shapes: `portable` gives all the largest, so that every loader scales them alike, `pattern` each its
 * own. `least` is what the largest is at least.
 */
export function settledPairs(drafts: readonly DraftedPair[], layout: AdapterLayout, least = 1): Pair[] {
  const rankOf = ({ parts }: DraftedPair) => parts.reduce((sum, { change }) => sum + change.rank, 0)
  const r = drafts.reduce((most, draft) => Math.max(most, rankOf(draft)), least)
  return drafts.map(({ kernel, ...draft }): Pair => {
    const rank = rankOf({ kernel, ...draft })
    const storedRank = layout === 'portable' ? r : Math.max(1, rank)
    return { ...draft, rank, storedRank, shapes: shapesOf({ kernel, ...draft }, storedRank) }
  })
}

function shapesOf({ kernel, rows, columns, orientation }: DraftedPair, r: number): Pair['shapes'] {
  if (orientation === 'turned') return { A: [columns, r], B: [r, rows] }
  if (kernel.length === 0) return { A: [r, columns], B: [rows, r] }
  const inputs = columns / kernel.reduce((product, n) => product * n, 1)
  const shape = [rows, inputs, ...kernel]
  return factorShapes(
    { kind: 'convolution', shape, rows, columns, experts: 1, isTransposed: false, tensor: '', path: '' },
    r,
  )
}

/** The largest stored rank. */
export const largestRank = (pairs: readonly Pair[]): number =>
  pairs.reduce((most, { storedRank }) => Math.max(most, storedRank), 1)
