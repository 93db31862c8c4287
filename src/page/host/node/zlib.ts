/** What the rooms use of node:zlib: raw deflate (RFC 1951) undone, by calls that wait. The words of errors are zlib's. */

export const constants = { Z_SYNC_FLUSH: 2 }

export interface InflateOptions {
  readonly maxOutputLength?: number
  /** `Z_SYNC_FLUSH`: an end that is missing is no error. */
  readonly finishFlush?: number
}

/** A code by its canonical form: how many codes each length has, and the symbols in the order of their codes. */
interface Code {
  readonly counts: Uint16Array
  readonly symbols: Uint16Array
}

const MOST_BITS = 15

function codeOf(lengths: Uint8Array, problem: string): Code {
  const counts = new Uint16Array(MOST_BITS + 1)
  for (const length of lengths) counts[length]++
  let left = 1
  for (let bits = 1; bits <= MOST_BITS; bits++) {
    left = 2 * left - counts[bits]
    if (left < 0) throw new Error(problem)
  }
  const starts = new Uint16Array(MOST_BITS + 2)
  for (let bits = 1; bits <= MOST_BITS; bits++) starts[bits + 1] = starts[bits] + counts[bits]
  const symbols = new Uint16Array(lengths.length)
  for (const [symbol, length] of lengths.entries()) if (length > 0) symbols[starts[length]++] = symbol
  return { counts, symbols }
}

const LENGTHS = [
  3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195,
  227, 258,
]
const LENGTH_BITS = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0]
const DISTANCES = [
  1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097,
  6145, 8193, 12289, 16385, 24577,
]
const DISTANCE_BITS = [
  0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13,
]
/** In which order the lengths of the code of code lengths stand. */
const ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]

const fixedLengths = Uint8Array.from({ length: 288 }, (_, i) => (i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8))
const FIXED = {
  literals: codeOf(fixedLengths, ''),
  distances: codeOf(new Uint8Array(30).fill(5), ''),
}

class Ended extends Error {
  override readonly message = 'unexpected end of file'
}

/** The bytes that deflated ones stand for. Throws for what is damaged, and for more than `maxOutputLength`. */
export function inflateRawSync(raw: Uint8Array, options: InflateOptions = {}): Uint8Array {
  const { maxOutputLength = Number.POSITIVE_INFINITY, finishFlush } = options
  let out = new Uint8Array(Math.min(maxOutputLength, 4 * raw.length + 1024))
  let size = 0
  let [at, held, bits] = [0, 0, 0]

  function take(count: number): number {
    while (bits < count) {
      if (at === raw.length) throw new Ended()
      held |= raw[at++] << bits
      bits += 8
    }
    const value = held & ((1 << count) - 1)
    held >>>= count
    bits -= count
    return value
  }

  function symbolOf({ counts, symbols }: Code, problem: string): number {
    let [code, first, index] = [0, 0, 0]
    for (let length = 1; length <= MOST_BITS; length++) {
      code |= take(1)
      const count = counts[length]
      if (code - count < first) return symbols[index + code - first]
      index += count
      first = (first + count) << 1
      code <<= 1
    }
    throw new Error(problem)
  }

  function makeRoom(more: number): void {
    if (size + more > maxOutputLength) {
      throw new Error(`Cannot create a Buffer larger than ${maxOutputLength} bytes`)
    }
    if (size + more <= out.length) return
    const grown = new Uint8Array(Math.min(maxOutputLength, Math.max(2 * out.length, size + more)))
    grown.set(out)
    out = grown
  }

  function stored(): void {
    held = bits = 0
    if (at + 4 > raw.length) throw new Ended()
    const length = raw[at] | (raw[at + 1] << 8)
    if (length !== (~(raw[at + 2] | (raw[at + 3] << 8)) & 0xffff))
      throw new Error('invalid stored block lengths')
    at += 4
    const there = Math.min(length, raw.length - at)
    makeRoom(there)
    out.set(raw.subarray(at, at + there), size)
    size += there
    at += there
    if (there < length) throw new Ended()
  }

  function ownCodes(): typeof FIXED {
    const [literals, distances, given] = [take(5) + 257, take(5) + 1, take(4) + 4]
    if (literals > 286 || distances > 30) throw new Error('too many length or distance symbols')
    const ofLengths = new Uint8Array(19)
    for (let i = 0; i < given; i++) ofLengths[ORDER[i]] = take(3)
    const code = codeOf(ofLengths, 'invalid code lengths set')
    const lengths = new Uint8Array(literals + distances)
    for (let i = 0; i < lengths.length; ) {
      const symbol = symbolOf(code, 'invalid code lengths set')
      if (symbol < 16) {
        lengths[i++] = symbol
        continue
      }
      if (symbol === 16 && i === 0) throw new Error('invalid bit length repeat')
      const value = symbol === 16 ? lengths[i - 1] : 0
      const times = symbol === 16 ? 3 + take(2) : symbol === 17 ? 3 + take(3) : 11 + take(7)
      if (i + times > lengths.length) throw new Error('invalid bit length repeat')
      lengths.fill(value, i, i + times)
      i += times
    }
    if (lengths[256] === 0) throw new Error('invalid code -- missing end-of-block')
    return {
      literals: codeOf(lengths.subarray(0, literals), 'invalid literal/lengths set'),
      distances: codeOf(lengths.subarray(literals), 'invalid distances set'),
    }
  }

  function compressed({ literals, distances }: typeof FIXED): void {
    for (;;) {
      const symbol = symbolOf(literals, 'invalid literal/length code')
      if (symbol === 256) return
      if (symbol < 256) {
        makeRoom(1)
        out[size++] = symbol
        continue
      }
      if (symbol > 285) throw new Error('invalid literal/length code')
      const length = LENGTHS[symbol - 257] + take(LENGTH_BITS[symbol - 257])
      const far = symbolOf(distances, 'invalid distance code')
      if (far > 29) throw new Error('invalid distance code')
      const distance = DISTANCES[far] + take(DISTANCE_BITS[far])
      if (distance > size) throw new Error('invalid distance too far back')
      makeRoom(length)
      for (let i = 0; i < length; i++, size++) out[size] = out[size - distance]
    }
  }

  try {
    for (let isLast = false; !isLast; ) {
      isLast = take(1) === 1
      const kind = take(2)
      if (kind === 3) throw new Error('invalid block type')
      if (kind === 0) stored()
      else compressed(kind === 1 ? FIXED : ownCodes())
    }
  } catch (error) {
    if (!(error instanceof Ended) || finishFlush !== constants.Z_SYNC_FLUSH) throw error
  }
  return out.subarray(0, size)
}
