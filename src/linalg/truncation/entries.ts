import { widenHalf, widenHalfInto } from '../matrix/half.ts'
import { type FloatArray, floatType, type HalfMatrix, type Matrix } from '../matrix/matrix.ts'
import { largestAbs } from '../matrix/norms.ts'
import { unitExponent } from '../svd/scaling.ts'
import { isMostlyUpper, SAMPLE, SPLIT_STEP, splitHalves, splitWords } from './halves.ts'

/** The entries of a matrix as the bytes that its keys are a digest of. */

/** Entries that are made ready at a time, a multiple of SPLIT_STEP: what is made for them stays in the cache. */
export const BLOCK = 1 << 14
const HEADER_BYTES = 16
const BITS = { f32: 32, f64: 64, halves: 16 } as const

interface Shape {
  readonly rows: number
  readonly columns: number
}

/**
 * The shape, how entries are written, and the entries, little-endian, in row-major order, the largest brought into [0.5, 1) by a power of two
 * and zeros without their sign: as float64, as float32, or, where the first ones show that it pays, float32 by halves, a block after the other.
 * Entries must be finite; halves are float32. Each part is valid until the next is asked for.
 */
export function* describedBy(A: Matrix | HalfMatrix): Generator<Uint8Array, void, void> {
  const type = 'dtype' in A ? 'f32' : floatType(A)
  const exponent = unitExponent(largestOf(A))
  // in two steps, since 2^1074, which brings the smallest numbers near 1, is no number
  const half = -Math.trunc(exponent / 2)
  const [first, second] = [2 ** half, 2 ** (-exponent - half)]
  const scaled = type === 'f32' ? new Float32Array(BLOCK) : new Float64Array(BLOCK)
  fillScaled(scaled, firstOf(A), first, second)
  const isSplit = type === 'f32' && isMostlyUpper(bitsOf(scaled, sampleSize(A)))
  yield describedShape(A, isSplit ? 'halves' : type)
  const out = new Uint16Array(isSplit ? splitWords(BLOCK) : 0)
  for (const block of blocksOf(A)) {
    fillScaled(scaled, block, first, second)
    const { length } = block
    if (isSplit) {
      const padded = paddedCount(length)
      scaled.fill(0, length, padded)
      yield new Uint8Array(out.buffer, 0, splitHalves(bitsOf(scaled, padded), out) * out.BYTES_PER_ELEMENT)
    } else yield new Uint8Array(scaled.buffer, 0, length * scaled.BYTES_PER_ELEMENT)
  }
}

const bitsOf = ({ buffer, byteOffset }: FloatArray, count: number) =>
  new Int32Array(buffer, byteOffset, count)

/** How many of the first entries are looked at to choose how entries are written. */
export const sampleSize = ({ rows, columns }: Shape): number => Math.min(SAMPLE, rows * columns)

/** Entries of a block with the zeros behind them. */
export const paddedCount = (count: number): number => Math.ceil(count / SPLIT_STEP) * SPLIT_STEP

/** What comes before the entries. */
export function describedShape({ rows, columns }: Shape, as: keyof typeof BITS): Uint8Array {
  const header = new DataView(new ArrayBuffer(HEADER_BYTES))
  header.setFloat64(0, rows, true)
  header.setUint32(8, columns, true)
  header.setUint32(12, BITS[as], true)
  return new Uint8Array(header.buffer)
}

/** −0 becomes 0 by the sum. Four at a time, which takes little more than half as long. */
function fillScaled(out: FloatArray, block: FloatArray, first: number, second: number): void {
  const whole = block.length - (block.length % 4)
  for (let i = 0; i < whole; i += 4) {
    out[i] = block[i] * first * second + 0
    out[i + 1] = block[i + 1] * first * second + 0
    out[i + 2] = block[i + 2] * first * second + 0
    out[i + 3] = block[i + 3] * first * second + 0
  }
  for (let i = whole; i < block.length; i++) out[i] = block[i] * first * second + 0
}

/** max|aᵢ|: of narrow floats by their bits, which without the sign are in the order of the numbers. */
function largestOf(A: Matrix | HalfMatrix): number {
  if ('dtype' in A) return widenHalf(Uint16Array.of(largestBits(A.data, 0x7fff)), A.dtype)[0]
  const { data } = A
  if (data instanceof Float64Array) return largestAbs(data)
  const bits = new Int32Array(data.buffer, data.byteOffset, data.length)
  return new Float32Array(Int32Array.of(largestBits(bits, 0x7fffffff)).buffer)[0]
}

/** The largest of the numbers under the mask, block by block, as the compiler does best with a loop that is called often. */
function largestBits(bits: Int32Array | Uint16Array, mask: number): number {
  let largest = 0
  for (let start = 0; start < bits.length; start += BLOCK) {
    largest = Math.max(largest, largestOfBlock(bits.subarray(start, start + BLOCK), mask))
  }
  return largest
}

/** In four strands, so that none waits for the one before. */
function largestOfBlock(bits: Int32Array | Uint16Array, mask: number): number {
  let [a, b, c, d] = [0, 0, 0, 0]
  const whole = bits.length - (bits.length % 4)
  for (let i = 0; i < whole; i += 4) {
    const p = bits[i] & mask
    const q = bits[i + 1] & mask
    const r = bits[i + 2] & mask
    const s = bits[i + 3] & mask
    if (p > a) a = p
    if (q > b) b = q
    if (r > c) c = r
    if (s > d) d = s
  }
  for (let i = whole; i < bits.length; i++) a = Math.max(a, bits[i] & mask)
  return Math.max(a, b, c, d)
}

/** The first entries as floats. */
const firstOf = (A: Matrix | HalfMatrix): FloatArray =>
  'dtype' in A ? widenHalf(A.data.subarray(0, SAMPLE), A.dtype) : A.data.subarray(0, SAMPLE)

/** The entries in order as floats; a block is valid until the next one is asked for. */
function* blocksOf(A: Matrix | HalfMatrix): Generator<FloatArray, void, void> {
  const { length } = A.data
  const bits = new Uint32Array('dtype' in A ? Math.min(BLOCK, length) : 0)
  for (let start = 0; start < length; start += BLOCK) {
    const end = Math.min(start + BLOCK, length)
    if ('dtype' in A) {
      const part = bits.subarray(0, end - start)
      widenHalfInto(part, A.data, start, A.dtype)
      yield new Float32Array(bits.buffer, 0, part.length)
    } else yield A.data.subarray(start, end)
  }
}
