/**
 * Float32 numbers as bytes of which fewer have to be hashed, and from which they can be told: numbers that are differences of bfloat16 mostly
 * have nothing in the lower half of their bits. First the upper halves of all; then a bit for each eight numbers, set where any of them has
 * a lower half that isn't 0; then the lower halves of those eights.
 */

const TOGETHER = 8
const FLAGS = 16
/** What a count of numbers must be a multiple of: a word of flags. */
export const SPLIT_STEP = TOGETHER * FLAGS

/** How many of the first numbers tell whether that is worth while: where at most every so-manyth has something in the lower half. */
export const SAMPLE = 1024
const FEW = 16

export function isMostlyUpper(sample: Int32Array): boolean {
  const count = sample.reduce((sum, word) => sum + ((word & 0xffff) === 0 ? 0 : 1), 0)
  return FEW * count <= sample.length
}

/** The most 16-bit words that so many numbers take. */
export const splitWords = (count: number): number => 2 * count + count / SPLIT_STEP

/** Writes the bits of numbers to `out`, as many as SPLIT_STEP divides. Returns how many 16-bit words that is. */
export function splitHalves(bits: Int32Array, out: Uint16Array): number {
  let flagsAt = bits.length
  let at = flagsAt + bits.length / SPLIT_STEP
  for (let i = 0; i < bits.length; ) {
    let flags = 0
    for (let flag = 1; flag < 1 << FLAGS; flag <<= 1, i += TOGETHER) {
      if (!splitEight(bits, i, out, at)) continue
      flags |= flag
      at += TOGETHER
    }
    out[flagsAt++] = flags
  }
  return at
}

/** The upper halves of eight numbers in their places, and the lower ones at `at` where any isn't 0: then true. In one go, as the compiler does best. */
function splitEight(bits: Int32Array, i: number, out: Uint16Array, at: number): boolean {
  const a = bits[i]
  const b = bits[i + 1]
  const c = bits[i + 2]
  const d = bits[i + 3]
  const e = bits[i + 4]
  const f = bits[i + 5]
  const g = bits[i + 6]
  const h = bits[i + 7]
  out[i] = a >> 16
  out[i + 1] = b >> 16
  out[i + 2] = c >> 16
  out[i + 3] = d >> 16
  out[i + 4] = e >> 16
  out[i + 5] = f >> 16
  out[i + 6] = g >> 16
  out[i + 7] = h >> 16
  if (((a | b | c | d | e | f | g | h) & 0xffff) === 0) return false
  out[at] = a
  out[at + 1] = b
  out[at + 2] = c
  out[at + 3] = d
  out[at + 4] = e
  out[at + 5] = f
  out[at + 6] = g
  out[at + 7] = h
  return true
}
