import { createCipheriv, createHash } from 'node:crypto'
import { boxMuller, uniformOf } from '../../random/seedrandom.ts'
import { type HalfMatrix, type Matrix, matrix } from '../matrix/matrix.ts'
import { type Arithmetic, inArithmetic } from './columns.ts'
import { describedBy } from './entries.ts'

/**
 * The only place that asks the platform for cryptography. A build without node:crypto replaces this file: SHA-256 and
 * AES-256 in counter mode give the same bytes wherever they come from.
 */

/** Bytes of the stream that are made at a time. */
const CHUNK_BYTES = 1 << 16

/** SHA-256 (FIPS 180-4) of the chunks one after the other; each may be overwritten once the next is asked for. */
export function sha256(chunks: Iterable<Uint8Array>): Uint8Array {
  const hash = createHash('sha256')
  for (const chunk of chunks) hash.update(chunk)
  return hash.digest()
}

const ZEROS = new Uint8Array(CHUNK_BYTES)

/**
 * The words in [0, 2³²), little-endian, of the AES-256 counter stream (NIST SP 800-38A) of a 256-bit key, from counter 0 on, so many at a time.
 * Whoever tells it from independent uniform words without the key has broken AES.
 */
export function keyedWords(key: Uint8Array): (count: number) => Uint32Array {
  const cipher = createCipheriv('aes-256-ctr', key, new Uint8Array(16))
  return (count) => {
    const words = new Uint32Array(count)
    const bytes = new Uint8Array(words.buffer)
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
      bytes.set(cipher.update(ZEROS.subarray(0, bytes.length - at)), at)
    }
    return words
  }
}

/**
 * Where the random numbers of a truncation come from. A certificate that can be wrong with a small probability says so of numbers
 * that are independent of the matrix. Were they known before it, a matrix could be made that hides a direction from all
 * of them. So the key of the probe is a digest of seed, name and every entry: whoever changes an entry gets other
 * numbers. A start block proves nothing: what it doesn't see the probe does, so its key need not cost a pass over the entries.
 */

/** The keys of the streams of one matrix, each of 256 bits: same seed, name and purpose, same key. */
export interface StreamKeys {
  /** Of numbers that may be known before the matrix is. */
  readonly known: (purpose: string) => Uint8Array
  /** Of numbers that are independent of it: the entries count as well. */
  readonly independent: (purpose: string) => Uint8Array
}

/** What the keys take from the entries of A. */
export const entriesDigest = (A: Matrix | HalfMatrix): Uint8Array => sha256(describedBy(A))

/** A matrix whose `entriesDigest` can be had faster than by plain loops. */
export interface Digested {
  readonly digest?: (() => Uint8Array) | undefined
}

/**
 * The entries of A are read when a key that depends on them is first asked for, and must be finite. Halves count by their
 * values, zeros without their sign, and a power of two that all entries share does not count, so that 2^j·A has the streams of A.
 */
export function streamKeys(
  A: Matrix | HalfMatrix,
  seed: bigint | number,
  name: string,
  known: Digested = {},
): StreamKeys {
  const { digest: digestOf = () => entriesDigest(A) } = known
  let digest: Uint8Array | undefined
  const label = (purpose: string) => new TextEncoder().encode(JSON.stringify([`${seed}`, name, purpose]))
  return {
    known: (purpose) => sha256([label(purpose)]),
    independent(purpose) {
      digest ??= digestOf()
      return sha256([label(purpose), digest])
    },
  }
}

/** Draws the next `columns` columns of a stream. */
export type Draw = (columns: number) => Matrix

const HALF_RANGE = 2 ** 31
/** Of two uniform numbers with 53 bits, which make two normal ones. */
const WORDS_OF_PAIR = 4

/**
 * Uniform numbers in [−1, 1): a start block needs only directions that no matrix is aligned with. Streams of
 * different keys are independent of each other, and the same on every platform.
 */
export function uniformColumns(rows: number, arithmetic: Arithmetic, key: Uint8Array): Draw {
  const words = keyedWords(key)
  return (columns) => {
    const data = new Float64Array(rows * columns)
    fillUniform(data, words(data.length))
    return inArithmetic(matrix(rows, columns, data), arithmetic)
  }
}

/** Standard normal numbers, as the statements about probabilities need them. */
export function normalColumns(rows: number, arithmetic: Arithmetic, key: Uint8Array): Draw {
  const words = keyedWords(key)
  return (columns) => {
    const data = new Float64Array(rows * columns)
    fillNormal(data, words(WORDS_OF_PAIR * Math.ceil(data.length / 2)))
    return inArithmetic(matrix(rows, columns, data), arithmetic)
  }
}

function fillUniform(data: Float64Array, words: Uint32Array): void {
  for (let i = 0; i < data.length; i++) data[i] = words[i] / HALF_RANGE - 1
}

/** In pairs; of the last one half may be left over. */
function fillNormal(data: Float64Array, words: Uint32Array): void {
  const pair = new Float64Array(2)
  for (let i = 0, at = 0; i < data.length; i += 2, at += WORDS_OF_PAIR) {
    boxMuller(uniformOf(words[at], words[at + 1]), uniformOf(words[at + 2], words[at + 3]), pair)
    data[i] = pair[0]
    if (i + 1 < data.length) data[i + 1] = pair[1]
  }
}
