/**
 * Where the random numbers of a truncation come from. A certificate that can be wrong with a small probability says so of numbers
 * that are independent of the matrix. Were they known before it, a matrix could be made that hides a direction from all
 * of them. So the key of the probe is a digest of seed, name and every entry: whoever changes an entry gets other
 * numbers. A start block proves nothing: what it doesn't see the probe does, so its key need not cost a pass over the entries.
 */
import { largestAbs } from '../matrix/arithmetic.ts'
import { widenHalfInto } from '../matrix/half.ts'
import type { FloatArray, HalfMatrix, Matrix } from '../matrix/matrix.ts'
import { sha256 } from '../random/keyed-words.ts'
import { binaryExponent } from '../svd/power-scale.ts'

/** Entries that are hashed at a time: what is made for them stays in the cache. */
const BLOCK = 1 << 14
const HEADER_BYTES = 16

/** The keys of the streams of one matrix, each of 256 bits: same seed, name and purpose, same key. */
export interface StreamKeys {
  /** Of numbers that may be known before the matrix is. */
  readonly known: (purpose: string) => Uint8Array
  /** Of numbers that are independent of it: the entries count as well. */
  readonly independent: (purpose: string) => Uint8Array
}

/**
 * The entries of A are read when a key that depends on them is first asked for, and must be finite. Halves count by their
 * values, zeros without their sign, and a power of two that all entries share does not count, so that 2^j·A has the streams of A.
 */
export function streamKeys(A: Matrix | HalfMatrix, seed: bigint | number, name: string): StreamKeys {
  let digest: Uint8Array | undefined
  const label = (purpose: string) => new TextEncoder().encode(JSON.stringify([`${seed}`, name, purpose]))
  return {
    known: (purpose) => sha256([label(purpose)]),
    independent(purpose) {
      digest ??= sha256(describedBy(A))
      return sha256([label(purpose), digest])
    },
  }
}

/** The shape, the float type and the entries, little-endian, in row-major order. */
function* describedBy(A: Matrix | HalfMatrix): Generator<Uint8Array, void, void> {
  const isNarrow = 'dtype' in A || A.data instanceof Float32Array
  const header = new DataView(new ArrayBuffer(HEADER_BYTES))
  header.setFloat64(0, A.rows, true)
  header.setUint32(8, A.columns, true)
  header.setUint32(12, isNarrow ? 32 : 64, true)
  yield new Uint8Array(header.buffer)
  const exponent = scalingExponentOf(A)
  // In two steps, since 2^1074, which brings the smallest numbers near 1, is no number.
  const half = -Math.trunc(exponent / 2)
  const factors = [2 ** half, 2 ** (-exponent - half)]
  const out = isNarrow ? new Float32Array(BLOCK) : new Float64Array(BLOCK)
  for (const block of blocksOf(A)) {
    fillScaled(out, block, factors[0], factors[1])
    yield new Uint8Array(out.buffer, 0, block.length * out.BYTES_PER_ELEMENT)
  }
}

/** −0 becomes 0 by the addition. */
function fillScaled(out: FloatArray, block: FloatArray, first: number, second: number): void {
  for (let i = 0; i < block.length; i++) out[i] = block[i] * first * second + 0
}

/** The exponent that brings the largest entry into [0.5, 1); 0 for data that are all zero. */
function scalingExponentOf(A: Matrix | HalfMatrix): number {
  let largest = 0
  for (const block of blocksOf(A)) largest = Math.max(largest, largestAbs(block))
  return largest === 0 ? 0 : binaryExponent(largest)
}

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
