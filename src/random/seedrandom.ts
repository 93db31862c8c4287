import arc4 from 'seedrandom/seedrandom.js'
import { badUsage } from '../errors.ts'
import { naturalLog, sinCos } from './portable-math.ts'

/** The float type of drawn numbers. */
export type NormalDtype = 'f32' | 'f64'

/** A seeded source of standard normal numbers. */
export interface NormalStream {
  /**
   * The next `count` numbers of the stream, as one `randn(count)` gives them; only the count matters, not a shape.
   * Throws RangeError unless `count` is an integer >= 0.
   */
  normals(count: number, dtype: 'f32'): Float32Array
  normals(count: number, dtype: 'f64'): Float64Array
  normals(count: number, dtype: NormalDtype): Float32Array | Float64Array
}

/** Throws RangeError unless `count` can be a length. */
export function checkCount(count: number): void {
  if (!Number.isSafeInteger(count) || count < 0) {
    throw new RangeError(`a count of normal numbers must be an integer >= 0, got ${count}`)
  }
}

/** How much of a wrong seed an error message repeats. */
const SHOWN_LENGTH = 40

/**
 * The integer written in decimal in `text`, as `--seed` takes it: digits with an optional sign, of any size.
 * Throws bad-usage on anything else.
 */
export function parseSeed(text: string): bigint {
  const digits = /^([+-]?)([0-9]+)$/.exec(text)
  if (digits === null) {
    const shown = text.length > SHOWN_LENGTH ? `${text.slice(0, SHOWN_LENGTH)}…` : text
    throw badUsage(`the seed must be a decimal integer such as 0 or -1, got ${JSON.stringify(shown)}`)
  }
  const magnitude = BigInt(digits[2])
  return digits[1] === '-' ? -magnitude : magnitude
}

/** A seed as a bigint. Throws bad-usage on a number that is no integer or past 2^53, where numbers skip integers. */
export function seedInteger(seed: bigint | number): bigint {
  if (typeof seed === 'bigint') return seed
  if (!Number.isSafeInteger(seed)) {
    throw badUsage(
      `a seed given as a number must be an integer within ±(2^53 - 1), got ${seed}; pass a bigint`,
    )
  }
  return BigInt(seed)
}

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
  const high = nextWord()
  return uniformOf(high, nextWord())
}

/** The same of two words. */
export const uniformOf = (high: number, low: number): number =>
  ((high & (TWO_21 - 1)) * TWO_32 + low) / (TWO_21 * TWO_32)

/**
 * Standard normals from `seedrandom(String(seed))`, the same bits on every platform: 0, 0n and '0' are one seed.
 * The stream does not depend on how it is cut into calls, and 'f32' is the 'f64' stream rounded.
 * Throws bad-usage on a number that is no integer.
 *
 * G. E. P. Box and M. E. Muller, Ann. Math. Stat. 29 (1958) 610: two uniforms u, v give the pair
 * √(−2 ln u)·cos 2πv and √(−2 ln u)·sin 2πv, in this order.
 */
export function seedrandomNormals(seed: string | bigint | number): NormalStream {
  // Only the ARC4 file of the package: its index would load six more generators.
  const uniform = arc4(typeof seed === 'string' ? seed : seedInteger(seed).toString())
  const unit = new Float64Array(2)
  let second: number | undefined

  function next(): number {
    if (second !== undefined) {
      const value = second
      second = undefined
      return value
    }
    const radius = Math.sqrt(-2 * naturalLog(uniform()))
    sinCos(2 * Math.PI * uniform(), unit)
    second = radius * unit[0]
    return radius * unit[1]
  }

  function normals(count: number, dtype: 'f32'): Float32Array
  function normals(count: number, dtype: 'f64'): Float64Array
  function normals(count: number, dtype: NormalDtype): Float32Array | Float64Array
  function normals(count: number, dtype: NormalDtype): Float32Array | Float64Array {
    checkCount(count)
    const out = dtype === 'f32' ? new Float32Array(count) : new Float64Array(count)
    for (let i = 0; i < count; i++) out[i] = next()
    return out
  }
  return { normals }
}
