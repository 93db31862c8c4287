/**
 * XXH32 (Yann Collet, "xxHash fast digest algorithm", doc/xxhash_spec.md of Cyan4973/xxHash), of bytes that come piece by piece. It
 * finds what a disk or a kill did to a file, several times as fast as a cryptographic digest, and is none.
 */
export interface Checksum {
  /** The next bytes. */
  add(bytes: Uint8Array): void
  /** Of all bytes so far, with the seed 0: an integer from 0 to 2^32 − 1. */
  value(): number
}

const P1 = 0x9e3779b1 | 0
const P2 = 0x85ebca77 | 0
const P3 = 0xc2b2ae3d | 0
const P4 = 0x27d4eb2f | 0
const P5 = 0x165667b1 | 0

/** Bytes that are taken up together: four lanes of four. */
const STRIPE = 16

const rotate = (x: number, bits: number) => (x << bits) | (x >>> (32 - bits))

/** Takes whole stripes into the four lanes. */
export type TakeUp = (lanes: Int32Array, stripes: Uint8Array) => void

/** A checksum of no bytes yet; `take` is what takes them up, where there is something faster than this file's loop. */
export function createChecksum(take: TakeUp = takeUp): Checksum {
  const lanes = Int32Array.of(P1 + P2, P2, 0, -P1)
  const rest = new Uint8Array(STRIPE)
  let [waiting, length] = [0, 0]

  function add(bytes: Uint8Array): void {
    length += bytes.length
    let at = 0
    if (waiting > 0) {
      at = Math.min(STRIPE - waiting, bytes.length)
      rest.set(bytes.subarray(0, at), waiting)
      waiting += at
      if (waiting < STRIPE) return
      take(lanes, rest)
      waiting = 0
    }
    const end = at + (bytes.length - at - ((bytes.length - at) % STRIPE))
    if (end > at) take(lanes, bytes.subarray(at, end))
    rest.set(bytes.subarray(end))
    waiting = bytes.length - end
  }

  function value(): number {
    const [a, b, c, d] = lanes
    let h = length >= STRIPE ? (rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18)) | 0 : P5
    h = (h + length) | 0
    const view = new DataView(rest.buffer)
    let at = 0
    for (; at + 4 <= waiting; at += 4) {
      h = Math.imul(rotate((h + Math.imul(view.getInt32(at, true), P3)) | 0, 17), P4)
    }
    for (; at < waiting; at++) h = Math.imul(rotate((h + Math.imul(rest[at], P5)) | 0, 11), P1)
    h = Math.imul(h ^ (h >>> 15), P2)
    h = Math.imul(h ^ (h >>> 13), P3)
    return (h ^ (h >>> 16)) >>> 0
  }

  return { add, value }
}

const HOST_IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

/** The loop in this language, for memory of any kind. */
export function takeUp(lanes: Int32Array, bytes: Uint8Array): void {
  const isAligned = bytes.byteOffset % 4 === 0 && HOST_IS_LITTLE_ENDIAN
  const { buffer, byteOffset } = isAligned ? bytes : inOrder(bytes)
  const words = new Int32Array(buffer, byteOffset, bytes.length / 4)
  let [a, b, c, d] = lanes
  for (let i = 0; i < words.length; i += 4) {
    a = (a + Math.imul(words[i], P2)) | 0
    a = Math.imul((a << 13) | (a >>> 19), P1)
    b = (b + Math.imul(words[i + 1], P2)) | 0
    b = Math.imul((b << 13) | (b >>> 19), P1)
    c = (c + Math.imul(words[i + 2], P2)) | 0
    c = Math.imul((c << 13) | (c >>> 19), P1)
    d = (d + Math.imul(words[i + 3], P2)) | 0
    d = Math.imul((d << 13) | (d >>> 19), P1)
  }
  lanes[0] = a
  lanes[1] = b
  lanes[2] = c
  lanes[3] = d
}

/** The same words in the host's order, where they can be read as such. */
function inOrder(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice()
  if (HOST_IS_LITTLE_ENDIAN) return copy
  const view = new DataView(copy.buffer)
  for (let at = 0; at < copy.length; at += 4) view.setInt32(at, view.getInt32(at, true))
  return copy
}

/** The checksum of bytes that are all there. */
export function checksumOf(bytes: Uint8Array): number {
  const checksum = createChecksum()
  checksum.add(bytes)
  return checksum.value()
}
