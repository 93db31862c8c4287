import type { Interval } from '../../spectrum/types.ts'

/**
 * A spectrum as a report carries it: thinned to some ranks. `sigma[i]` is the singular value at rank `ranks[i]`; `tail[i]`
 * is the squared relative error of the best approximation of that rank, from above, and `least[i]` from below. The last
 * rank is `given`; values that aren't given are zero where `complete`.
 */
export interface ThinnedSpectrum {
  readonly order: number
  readonly frobenius: number
  /** How many singular values are known. */
  readonly given: number
  readonly complete: boolean
  /** At least the singular value after the given ones. */
  readonly next: number
  readonly sigma: readonly number[]
  /** At least the true ones; left out where they are the same as `sigma`. */
  readonly upper?: readonly number[]
  /** Singular values up to this are rounding. */
  readonly rounding: number
  readonly tail: readonly number[]
  /** Left out where it is the same as `tail`. */
  readonly least?: readonly number[]
}

/** The index of the last of the ascending `ranks` that is at most r; −1 where all are larger. */
export function lastUpTo(ranks: readonly number[], r: number): number {
  let [low, high] = [0, ranks.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (ranks[middle] <= r) low = middle + 1
    else high = middle
  }
  return low - 1
}

/**
 * What is known of the squared relative error of the best approximation of rank r. Between two carried ranks it lies between
 * their bounds. Beyond the given singular values, the r − k largest of the n − k that are left hold at least their even
 * share of what is left, and at most (r − k)·next².
 */
export function tailAt(spectrum: ThinnedSpectrum, ranks: readonly number[], r: number): Interval {
  const { order, frobenius, given, complete, next, tail, least = tail } = spectrum
  if (!(frobenius > 0) || r >= order) return { atLeast: 0, atMost: 0 }
  if (r <= 0) return { atLeast: 1, atMost: 1 }
  const i = lastUpTo(ranks, r)
  if (r <= given) return { atLeast: least[ranks[i] === r ? i : i + 1], atMost: i < 0 ? 1 : tail[i] }
  if (complete) return { atLeast: 0, atMost: 0 }
  const most = (r - given) * (next / frobenius) ** 2
  return {
    atLeast: Math.max(0, (least[i] ?? 1) - most),
    atMost: ((tail[i] ?? 1) * (order - r)) / (order - given),
  }
}
