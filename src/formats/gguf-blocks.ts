import { widenHalf } from '../linalg/matrix/half.ts'

/**
 * Numbers that GGUF stores in blocks, a few bits each under scales of their own: blocks as ggml/src/ggml-common.h lays them out, numbers
 * as dequantize_row_* of ggml/src/ggml-quants.c make them (llama.cpp@01243c58, 2026). Every product is exact in float64, and is rounded to
 * float32 once where the reference rounds: the bits are the same.
 */

/** The types that are read, by ggml's names in small letters. */
export type BlockDtype = 'q4_0' | 'q8_0' | 'q4_k' | 'q6_k'

/** How many numbers a block holds, and the bytes that it takes. */
export interface BlockSize {
  readonly elements: number
  readonly bytes: number
}

export const BLOCK_SIZES: Readonly<Record<BlockDtype, BlockSize>> = {
  q4_0: { elements: 32, bytes: 18 },
  q8_0: { elements: 32, bytes: 34 },
  q4_k: { elements: 256, bytes: 144 },
  q6_k: { elements: 256, bytes: 210 },
}

export const isBlockDtype = (dtype: string): dtype is BlockDtype => Object.hasOwn(BLOCK_SIZES, dtype)

/** The numbers of whole blocks as float32. Throws RangeError for a part of a block. */
export function decodeBlocks(bytes: Uint8Array, dtype: BlockDtype): Float32Array {
  const size = BLOCK_SIZES[dtype]
  const count = bytes.length / size.bytes
  if (!Number.isInteger(count)) {
    throw new RangeError(`${bytes.length} bytes are no whole number of ${size.bytes}-byte blocks`)
  }
  const out = new Float32Array(count * size.elements)
  DECODERS[dtype](bytes, count, out)
  return out
}

type Decoder = (bytes: Uint8Array, count: number, out: Float32Array) => void

const DECODERS: Readonly<Record<BlockDtype, Decoder>> = {
  /** A scale; then 16 bytes, the first half of the numbers in their low four bits, the second in the high ones, each less 8. */
  q4_0: (bytes, count, out) => {
    const scales = halves(bytes, count, BLOCK_SIZES.q4_0.bytes, 0)
    for (let block = 0; block < count; block++) {
      const [from, to, d] = [block * 18 + 2, block * 32, scales[block]]
      for (let i = 0; i < 16; i++) {
        const pair = bytes[from + i]
        out[to + i] = ((pair & 15) - 8) * d
        out[to + 16 + i] = ((pair >> 4) - 8) * d
      }
    }
  },

  /** A scale; then 32 signed bytes. */
  q8_0: (bytes, count, out) => {
    const scales = halves(bytes, count, BLOCK_SIZES.q8_0.bytes, 0)
    for (let block = 0; block < count; block++) {
      const [from, to, d] = [block * 34 + 2, block * 32, scales[block]]
      for (let i = 0; i < 32; i++) out[to + i] = signed(bytes[from + i]) * d
    }
  },

  /**
   * Scales of the eight groups' scales and minima; those, six bits each, in 12 bytes; then 32 bytes for every two groups, the first of
   * them in the low four bits.
   */
  q4_k: (bytes, count, out) => {
    const scales = halves(bytes, count, BLOCK_SIZES.q4_k.bytes, 0)
    const minima = halves(bytes, count, BLOCK_SIZES.q4_k.bytes, 2)
    for (let block = 0; block < count; block++) {
      const start = block * 144
      for (let group = 0; group < 8; group++) {
        const d = scales[block] * scaleOfGroup(bytes, start + 4, group)
        const m = minima[block] * minimumOfGroup(bytes, start + 4, group)
        const from = start + 16 + (group >> 1) * 32
        const to = block * 256 + group * 32
        const shift = (group & 1) * 4
        for (let i = 0; i < 32; i++) out[to + i] = d * ((bytes[from + i] >> shift) & 15) - m
      }
    }
  },

  /**
   * 128 bytes of low halves, 64 of the two bits above them, 16 signed scales of 16 numbers each, and their scale. Of each half of the
   * block the rows of 32 numbers lie one above the other in the bits: rows 0 and 2 share 32 bytes of the low halves, rows 1 and 3 the next.
   */
  q6_k: (bytes, count, out) => {
    const scales = halves(bytes, count, BLOCK_SIZES.q6_k.bytes, 208)
    for (let block = 0; block < count; block++) {
      const start = block * 210
      for (let row = 0; row < 8; row++) {
        const [half, within] = [row >> 2, row & 3]
        const low = start + half * 64 + (within & 1) * 32
        const high = start + 128 + half * 32
        const to = block * 256 + row * 32
        const [lowShift, highShift] = [(within >> 1) * 4, within * 2]
        for (let i = 0; i < 32; i++) {
          const q = ((bytes[low + i] >> lowShift) & 15) | (((bytes[high + i] >> highShift) & 3) << 4)
          const scale = signed(bytes[start + 192 + row * 2 + (i >> 4)])
          out[to + i] = scales[block] * scale * (q - 32)
        }
      }
    }
  },
}

/** How many numbers have one step between them. */
const GROUP: Readonly<Record<BlockDtype, number>> = { q4_0: 32, q8_0: 32, q4_k: 32, q6_k: 16 }

/** The distance of neighbouring values that numbers can be stored as, for each group of `size` of them. */
export interface Steps {
  readonly size: number
  readonly steps: Float64Array
}

/** The steps of whole blocks, group by group. */
export function stepsOf(bytes: Uint8Array, dtype: BlockDtype): Steps {
  const size = GROUP[dtype]
  const { bytes: blockBytes, elements } = BLOCK_SIZES[dtype]
  const count = bytes.length / blockBytes
  const scales = halves(bytes, count, blockBytes, dtype === 'q6_k' ? 208 : 0)
  const perBlock = elements / size
  const steps = Float64Array.from({ length: count * perBlock }, (_, i) => {
    const block = Math.floor(i / perBlock)
    const [start, group] = [block * blockBytes, i % perBlock]
    if (dtype === 'q4_k') return scales[block] * scaleOfGroup(bytes, start + 4, group)
    return dtype === 'q6_k' ? scales[block] * signed(bytes[start + 192 + group]) : scales[block]
  })
  return { size, steps }
}

const signed = (byte: number) => (byte << 24) >> 24

/** The 16-bit float at one place of every block. */
function halves(bytes: Uint8Array, count: number, blockBytes: number, offset: number): Float32Array {
  const bits = new Uint16Array(count)
  for (let block = 0; block < count; block++) {
    const at = block * blockBytes + offset
    bits[block] = bytes[at] | (bytes[at + 1] << 8)
  }
  return widenHalf(bits, 'f16')
}

/** Six bits: of the first four groups those of a byte, of the others four in the third row of bytes and two above those of the first. */
const scaleOfGroup = (bytes: Uint8Array, at: number, group: number) =>
  group < 4 ? bytes[at + group] & 63 : (bytes[at + group + 4] & 15) | ((bytes[at + group - 4] >> 6) << 4)

/** The same for the minima, in the second row, the high halves of the third and above those of the second. */
const minimumOfGroup = (bytes: Uint8Array, at: number, group: number) =>
  group < 4 ? bytes[at + group + 4] & 63 : (bytes[at + group + 4] >> 4) | ((bytes[at + group] >> 6) << 4)
