/** Choices by a seed: mulberry32. The same seed makes the same mutants everywhere. */
export interface Chance {
  /** A whole number from 0 to below `count`. */
  below(count: number): number
  /** One of these. */
  of<T>(items: readonly T[]): T
  /** True once in so many times. */
  oneIn(count: number): boolean
}

export function chance(seed: number): Chance {
  let state = seed | 0
  const below = (count: number): number => {
    state = (state + 0x6d2b79f5) | 0
    let z = Math.imul(state ^ (state >>> 15), state | 1)
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
    return Math.floor((((z ^ (z >>> 14)) >>> 0) / 2 ** 32) * count)
  }
  return { below, of: (items) => items[below(items.length)], oneIn: (count) => below(count) === 0 }
}
