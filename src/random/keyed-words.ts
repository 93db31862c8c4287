/**
 * The only place that asks the platform for cryptography. A build without node:crypto replaces this file: SHA-256 and
 * AES-256 in counter mode give the same bytes wherever they come from.
 */
import { createCipheriv, createHash } from 'node:crypto'

/** Bytes of the stream that are made at a time. */
const CHUNK_BYTES = 1 << 16
const WORD_BYTES = 4

/** SHA-256 (FIPS 180-4) of the chunks one after the other; each may be overwritten once the next is asked for. */
export function sha256(chunks: Iterable<Uint8Array>): Uint8Array {
  const hash = createHash('sha256')
  for (const chunk of chunks) hash.update(chunk)
  return hash.digest()
}

/**
 * The words in [0, 2³²), little-endian, of the AES-256 counter stream (NIST SP 800-38A) of a 256-bit key, from counter 0 on.
 * Whoever tells it from independent uniform words without the key has broken AES.
 */
export function keyedWords(key: Uint8Array): () => number {
  const cipher = createCipheriv('aes-256-ctr', key, new Uint8Array(16))
  const zeros = new Uint8Array(CHUNK_BYTES)
  let chunk = new DataView(new ArrayBuffer(0))
  let at = 0
  return () => {
    if (at === chunk.byteLength) {
      const bytes = cipher.update(zeros)
      chunk = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      at = 0
    }
    const word = chunk.getUint32(at, true)
    at += WORD_BYTES
    return word
  }
}
