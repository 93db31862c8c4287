import type { IntegerRange, Interval } from '../../spectrum/types.ts'

/**
 * A spectrum as a report carries it: thinned to some ranks. `sigma[i]` is the singular value at rank `ranks[i]`, and
 * `tail[i]` = 1 − Σ_{j ≤ ranks[i]} σ_j² / ‖A‖_F², from above: the squared relative error of the best approximation of that
 * rank. The last rank is `given`.
 */
export interface ThinnedSpectrum {
  readonly order: number
  readonly frobenius: number
  /** How many singular values are known. */
  readonly given: number
  readonly complete: boolean
  /** By how much a tail can be too large. */
  readonly excess: number
  /** At least the singular value after the given ones. */
  readonly next: number
  readonly sigma: readonly number[]
  readonly tail: readonly number[]
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
 * What is known of the squared relative error of the best approximation of rank r. At a carried rank of a complete spectrum
 * it is one number; between two carried ranks it lies between their tails. Beyond the given singular values, the r − k
 * largest of the n − k that are left hold at least their even share of what is left, and at most (r − k)·next².
 */
export function tailAt(spectrum: ThinnedSpectrum, ranks: readonly number[], r: number): Interval {
  const { order, frobenius, given, complete, excess, next, tail } = spectrum
  if (!(frobenius > 0) || r >= order) return { atLeast: 0, atMost: 0 }
  if (r <= 0) return { atLeast: 1, atMost: 1 }
  if (r <= given) {
    const i = lastUpTo(ranks, r)
    const after = ranks[i] === r ? tail[i] : (tail[i + 1] ?? 0)
    return { atLeast: Math.max(0, after - excess), atMost: tail[i] ?? 1 }
  }
  if (complete) return { atLeast: 0, atMost: 0 }
  const rest = given === 0 ? 1 : tail[tail.length - 1]
  const most = (r - given) * (next / frobenius) ** 2
  return {
    atLeast: Math.max(0, rest - excess - most),
    atMost: (rest * (order - r)) / (order - given),
  }
}

/** The least rank whose squared relative error is at most `share`, as far as a spectrum that is not thinned tells. */
export function rankForTail(spectrum: ThinnedSpectrum, share: number): IntegerRange {
  const { order, frobenius, given, complete, excess, next, tail } = spectrum
  if (!(frobenius > 0) || share >= 1) return { atLeast: 0, atMost: 0 }
  // tail[i] belongs to rank i + 1
  const most = tail.findIndex((value) => value <= share) + 1
  const least = tail.findIndex((value) => value - excess <= share) + 1
  if (complete) return { atLeast: least || given, atMost: most || given }
  const rest = given === 0 ? 1 : tail[given - 1]
  const step = (next / frobenius) ** 2
  const beyond = step > 0 ? Math.ceil((rest - excess - share) / step) : order
  return {
    atLeast: least || Math.min(order, given + Math.max(1, beyond)),
    atMost: most || Math.min(order, Math.ceil(order - (share * (order - given)) / rest)),
  }
}
