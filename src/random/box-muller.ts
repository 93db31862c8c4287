import { naturalLog, sinCos } from './portable-math.ts'

/** Writes √(−2 ln(1 − u))·[cos 2πv, sin 2πv] to `pair`, for u and v in [0, 1) with 53 bits, where 1 − u is exact. */
export function boxMuller(u: number, v: number, pair: Float64Array): void {
  const radius = Math.sqrt(-2 * naturalLog(1 - u))
  sinCos(2 * Math.PI * v, pair)
  const sine = pair[0]
  // PyTorch adds the mean, 0, which turns a result of -0 into +0.
  pair[0] = radius * pair[1] + 0
  pair[1] = radius * sine + 0
}

const TWO_21 = 0x20_0000
const TWO_32 = 0x1_0000_0000

/** The next uniform number in [0, 1) with 53 bits from a source of 32-bit words; the first word drawn is the high one. */
export function uniform53(nextWord: () => number): number {
  const high = nextWord() & (TWO_21 - 1)
  return (high * TWO_32 + nextWord()) / (TWO_21 * TWO_32)
}
