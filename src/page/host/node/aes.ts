/** AES-256 in counter mode (FIPS 197, NIST SP 800-38A), by calls that wait. */

const ROUNDS = 14
const KEY_WORDS = 8

/** The product by x in GF(2⁸). */
const doubled = (x: number) => ((x << 1) ^ (x & 0x80 ? 0x11b : 0)) & 0xff

function substitutions(): Uint8Array {
  const box = new Uint8Array(256)
  let [p, q] = [1, 1]
  do {
    // p runs through the powers of 3, q through those of its inverse
    p ^= doubled(p)
    q ^= q << 1
    q ^= q << 2
    q ^= q << 4
    q &= 0xff
    if (q & 0x80) q ^= 0x09
    const turned = q ^ (q << 1) ^ (q << 2) ^ (q << 3) ^ (q << 4)
    box[p] = (turned ^ (turned >> 8) ^ 0x63) & 0xff
  } while (p !== 1)
  box[0] = 0x63
  return box
}

const BOX = substitutions()
const right = (x: number, by: number) => (x >>> by) | (x << (32 - by))

/** A column of the mixing matrix times what an entry of the state is replaced by, turned for each row. */
const TABLES = [0, 8, 16, 24].map((by) =>
  Int32Array.from(BOX, (s) => {
    const twice = doubled(s)
    return right((twice << 24) | (s << 16) | (s << 8) | (twice ^ s), by)
  }),
)

const substituted = (w: number) =>
  (BOX[w >>> 24] << 24) | (BOX[(w >>> 16) & 255] << 16) | (BOX[(w >>> 8) & 255] << 8) | BOX[w & 255]

function roundKeys(key: Uint8Array): Int32Array {
  const words = new Int32Array(4 * (ROUNDS + 1))
  const view = new DataView(key.buffer, key.byteOffset, key.byteLength)
  let constant = 1
  for (let i = 0; i < words.length; i++) {
    if (i < KEY_WORDS) {
      words[i] = view.getInt32(4 * i)
      continue
    }
    let word = words[i - 1]
    if (i % KEY_WORDS === 0) {
      word = substituted(right(word, 24)) ^ (constant << 24)
      constant = doubled(constant)
    } else if (i % KEY_WORDS === 4) word = substituted(word)
    words[i] = words[i - KEY_WORDS] ^ word
  }
  return words
}

/** The bytes of the stream of a 256-bit key, added to those that are given: 16 for each counter, which begins at `counter`. */
export function counterStream(key: Uint8Array, counter: Uint8Array): (bytes: Uint8Array) => Uint8Array {
  const keys = roundKeys(key)
  const [T0, T1, T2, T3] = TABLES
  const count = new Int32Array(4)
  const start = new DataView(counter.buffer, counter.byteOffset, counter.byteLength)
  for (let i = 0; i < 4; i++) count[i] = start.getInt32(4 * i)
  const block = new Uint8Array(16)
  const view = new DataView(block.buffer)
  let used = block.length

  function next(): void {
    let [a, b, c, d] = count
    a ^= keys[0]
    b ^= keys[1]
    c ^= keys[2]
    d ^= keys[3]
    let k = 4
    for (; k < 4 * ROUNDS; k += 4) {
      const w = T0[a >>> 24] ^ T1[(b >>> 16) & 255] ^ T2[(c >>> 8) & 255] ^ T3[d & 255] ^ keys[k]
      const x = T0[b >>> 24] ^ T1[(c >>> 16) & 255] ^ T2[(d >>> 8) & 255] ^ T3[a & 255] ^ keys[k + 1]
      const y = T0[c >>> 24] ^ T1[(d >>> 16) & 255] ^ T2[(a >>> 8) & 255] ^ T3[b & 255] ^ keys[k + 2]
      d = T0[d >>> 24] ^ T1[(a >>> 16) & 255] ^ T2[(b >>> 8) & 255] ^ T3[c & 255] ^ keys[k + 3]
      a = w
      b = x
      c = y
    }
    const last = (p: number, q: number, r: number, s: number, key: number) =>
      ((BOX[p >>> 24] << 24) | (BOX[(q >>> 16) & 255] << 16) | (BOX[(r >>> 8) & 255] << 8) | BOX[s & 255]) ^
      key
    view.setInt32(0, last(a, b, c, d, keys[k]))
    view.setInt32(4, last(b, c, d, a, keys[k + 1]))
    view.setInt32(8, last(c, d, a, b, keys[k + 2]))
    view.setInt32(12, last(d, a, b, c, keys[k + 3]))
    for (let i = 3; i >= 0 && ++count[i] === 0; i--);
    used = 0
  }

  return (bytes) => {
    const out = new Uint8Array(bytes.length)
    for (let i = 0; i < bytes.length; i++) {
      if (used === block.length) next()
      out[i] = bytes[i] ^ block[used++]
    }
    return out
  }
}
