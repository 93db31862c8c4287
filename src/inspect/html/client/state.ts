type Change = 'rank' | 'chosen'

/** What a reader has set; whoever shows it listens for changes. */
export interface Store {
  rank(): number
  setRank(rank: number): void
  /** Matrices whose curves are drawn in colour, the first chosen first: their index, and the number of the colour. */
  chosen(): ReadonlyMap<number, number>
  /** Chooses a matrix, or lets it go; where all colours are taken the one chosen first makes room. */
  toggle(index: number): void
  on(change: Change, listener: () => void): void
}

/** As many as there are colours that can be told apart. */
const COLOURS = 6

export function createStore(firstRank: number, firstChosen: readonly number[]): Store {
  let rank = firstRank
  const chosen = new Map(firstChosen.slice(0, COLOURS).map((index, i) => [index, i]))
  const listeners: Record<Change, (() => void)[]> = { rank: [], chosen: [] }
  const tell = (change: Change) => {
    for (const listener of listeners[change]) listener()
  }
  return {
    rank: () => rank,
    setRank(next) {
      if (next === rank) return
      rank = next
      tell('rank')
    },
    chosen: () => chosen,
    toggle(index) {
      if (!chosen.delete(index)) {
        const [oldest] = chosen.keys()
        if (chosen.size >= COLOURS) chosen.delete(oldest)
        const used = new Set(chosen.values())
        let colour = 0
        while (used.has(colour)) colour++
        chosen.set(index, colour)
      }
      tell('chosen')
    },
    on: (change, listener) => {
      listeners[change].push(listener)
    },
  }
}
