import type { SharedModule } from '../combine/modules.ts'
import { layersOf } from '../combine/modules.ts'
import { type AdapterLayout, factorShapes } from '../lora/write/peft.ts'
import type { Change, Pair } from './target.ts'

/** The changes of shared modules: one of each, and of a stack one of each expert. */
export const changesOf = (modules: readonly SharedModule[]): Change[] =>
  modules.flatMap((shared) =>
    layersOf(shared).map(
      ({ module, terms, expert }): Change => ({
        module,
        terms,
        rank: terms.reduce((sum, term) => sum + term.module.rank, 0),
        ...(expert !== undefined && { expert }),
      }),
    ),
  )

/** A pair before its rank among the others is known. */
export type DraftedPair = Omit<Pair, 'rank' | 'storedRank' | 'shapes'>

const rankOf = ({ changes }: DraftedPair) => changes.reduce((most, { rank }) => Math.max(most, rank), 0)

/**
 * The pairs with their stored ranks and shapes: `portable` gives all the largest, so that every loader scales them alike, `pattern` each its
 * own.
 */
export function settledPairs(drafts: readonly DraftedPair[], layout: AdapterLayout): Pair[] {
  const r = drafts.reduce((most, draft) => Math.max(most, rankOf(draft)), 1)
  return drafts.map((draft): Pair => {
    const rank = rankOf(draft)
    const storedRank = layout === 'portable' ? r : Math.max(1, rank)
    return { ...draft, rank, storedRank, shapes: shapesOf(draft, storedRank) }
  })
}

function shapesOf(draft: DraftedPair, r: number): Pair['shapes'] {
  const { changes, rows, columns, orientation, members } = draft
  const [{ module }] = changes
  if (members !== undefined) return { A: [members.of, r, columns], B: [members.of, rows, r] }
  if (orientation === 'turned') return { A: [columns, r], B: [r, rows] }
  if (module.kind === 'convolution') return factorShapes(module, r)
  return { A: [r, columns], B: [rows, r] }
}

/** The largest stored rank. */
export const largestRank = (pairs: readonly Pair[]): number =>
  pairs.reduce((most, { storedRank }) => Math.max(most, storedRank), 1)
