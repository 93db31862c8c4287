import { badInput } from '../errors.ts'
import type { ByteSource } from '../io/source.ts'
import { counted, quoted, shapeText } from '../text/quote.ts'
import { ALIGNMENT_KEY, DEFAULT_ALIGNMENT, type GgmlType, ggmlTypeOf, padded } from './gguf-types.ts'
import { type Cursor, cursorOf, type GgufValue, MoreBytesNeeded, readValue } from './gguf-values.ts'

/** One tensor: its bytes are [begin, end) of the file, row by row as the shape says. */
export interface GgufTensor {
  readonly name: string
  readonly type: GgmlType
  /** By rows: the last dimension is the one that lies together. GGUF lists them the other way round. */
  readonly shape: readonly number[]
  readonly begin: number
  readonly end: number
}

/** What a GGUF header says; tensors come in the order of the file, which is that of their data. */
export interface GgufHeader {
  readonly version: number
  readonly alignment: number
  readonly metadata: ReadonlyMap<string, GgufValue>
  readonly tensors: ReadonlyMap<string, GgufTensor>
  readonly dataStart: number
}

export const GGUF_MAGIC = 'GGUF'

/** As safetensors allows: the vocabulary of 256,000 words with its merges takes a fifth of it, and it bounds what we are made to read. */
export const GGUF_HEADER_BYTE_LIMIT = 100_000_000

/** Bytes read at first: an adapter's whole header. A model's, with its vocabulary, is there by the third reading. */
const FIRST_BYTES = 2 ** 20
const GROWTH = 4

/** GGML_MAX_DIMS of ggml/include/ggml.h. */
const MOST_DIMENSIONS = 4

/** The least that a key with its value takes (length, one letter, type, one byte), and a tensor (length, dimensions, type, offset). */
const LEAST_KEY_BYTES = 14
const LEAST_TENSOR_BYTES = 24

/**
 * Reads and checks the header of a GGUF file of version 2 or 3, as gguf_init_from_reader of ggml/src/gguf.cpp does (llama.cpp@067d44f6,
 * 2026): no name twice, tensors one right after the other at multiples of the alignment, rows of whole blocks; and that all data is there.
 * Reads the header alone, in growing pieces, as nothing says how long it is. Throws `bad-input` that says what is wrong and where.
 */
export async function readGgufHeader(source: ByteSource): Promise<GgufHeader> {
  const { name: file, byteLength } = source
  for (let length = Math.min(FIRST_BYTES, byteLength); ; ) {
    const cursor = cursorOf(await source.read(0, length), file, byteLength)
    try {
      return parseHeader(cursor, byteLength)
    } catch (error) {
      if (!(error instanceof MoreBytesNeeded)) throw error
      if (length >= GGUF_HEADER_BYTE_LIMIT) {
        throw badInput(
          `${file}: the file has a header of more than ${GGUF_HEADER_BYTE_LIMIT} bytes, the most that is read: it is damaged, or no GGUF file`,
          { file },
        )
      }
      length = Math.min(GROWTH * length, GGUF_HEADER_BYTE_LIMIT, byteLength)
    }
  }
}

function parseHeader(cursor: Cursor, byteLength: number): GgufHeader {
  cursor.skip(GGUF_MAGIC.length)
  const version = readVersion(cursor)
  const tensorCount = readCount(cursor, 'tensor', LEAST_TENSOR_BYTES, byteLength)
  const keyCount = readCount(cursor, 'key', LEAST_KEY_BYTES, byteLength)
  const metadata = new Map<string, GgufValue>()
  for (let i = 0; i < keyCount; i++) {
    const key = cursor.name(`the name of key ${i + 1}`)
    if (metadata.has(key)) throw cursor.refusal(`has the key ${quoted(key)} twice; convert the model anew`)
    metadata.set(key, readValue(cursor, key))
  }
  const alignment = alignmentOf(cursor, metadata)
  const listed: (Omit<GgufTensor, 'begin' | 'end'> & { readonly offset: number })[] = []
  const names = new Set<string>()
  for (let i = 0; i < tensorCount; i++) {
    const name = cursor.name(`the name of tensor ${i + 1}`)
    if (names.has(name))
      throw cursor.refusal(`lists two tensors named ${quoted(name)}; convert it anew`, name)
    names.add(name)
    listed.push({ name, ...readInfo(cursor, name) })
  }
  const dataStart = tensorCount === 0 ? cursor.at() : padded(cursor.at(), alignment)
  const tensors = new Map<string, GgufTensor>()
  let position = 0
  for (const { name, type, shape, offset } of listed) {
    const bytes = tensorBytes(cursor, name, type, shape)
    if (offset !== position) {
      const kind = offset > position ? 'a hole' : 'an overlap'
      throw cursor.refusal(
        `puts tensor ${quoted(name)} at byte ${offset} of the data, expected ${position} (${kind}), which llama.cpp refuses too; convert it anew`,
        name,
      )
    }
    const begin = dataStart + offset
    if (begin + bytes > byteLength) {
      throw cursor.refusal(
        `ends at byte ${byteLength}, and the data of tensor ${quoted(name)} at byte ${begin + bytes}: it is cut off; fetch it again`,
        name,
      )
    }
    tensors.set(name, { name, type, shape, begin, end: begin + bytes })
    position += padded(bytes, alignment)
  }
  return { version, alignment, metadata, tensors, dataStart }
}

function readVersion(cursor: Cursor): number {
  const version = cursor.u32()
  if (version === 2 || version === 3) return version
  // llama.cpp tells files of big-endian machines the same way
  if ((version & 0xffff) === 0)
    throw cursor.refusal('has its numbers in big-endian order; convert the model anew')
  throw cursor.refusal(`is GGUF of version ${version}; 2 and 3 are read: convert the model anew`)
}

/** A count of what takes `least` bytes each: more than the file has room for is refused before anything is read for it. */
function readCount(cursor: Cursor, noun: string, least: number, byteLength: number): number {
  const count = cursor.u64()
  const most = Math.floor(byteLength / least)
  if (count <= most) return count
  const said = Number.isSafeInteger(count) ? counted(count, noun) : `more than 2^53 ${noun}s`
  throw cursor.refusal(
    `announces ${said}; its ${byteLength} bytes have room for ${most} at most: it is cut off or damaged; fetch it again`,
  )
}

function alignmentOf(cursor: Cursor, metadata: ReadonlyMap<string, GgufValue>): number {
  const found = metadata.get(ALIGNMENT_KEY)
  if (found === undefined) return DEFAULT_ALIGNMENT
  if (found.type !== 'u32') {
    throw cursor.refusal(
      `has ${quoted(ALIGNMENT_KEY)} of the type ${found.type}, expected u32; convert it anew`,
    )
  }
  const { value } = found
  if (value > 0 && (value & (value - 1)) === 0) return value
  throw cursor.refusal(`has ${quoted(ALIGNMENT_KEY)} ${value}, which is no power of two; convert it anew`)
}

function readInfo(cursor: Cursor, name: string) {
  const dimensions = cursor.u32()
  if (dimensions > MOST_DIMENSIONS) {
    throw cursor.refusal(
      `is damaged: tensor ${quoted(name)} has ${dimensions} dimensions, GGUF at most ${MOST_DIMENSIONS}; fetch it again`,
      name,
    )
  }
  const shape = Array.from({ length: dimensions }, () => cursor.u64()).reverse()
  const code = cursor.u32()
  const type = ggmlTypeOf(code)
  if (type === undefined) {
    throw cursor.refusal(
      `has tensor ${quoted(name)} of the type ${code}, which is none of ggml's, or no longer; convert the model anew`,
      name,
    )
  }
  return { type, shape, offset: cursor.u64() }
}

/** The bytes of a tensor. Throws where its rows are no whole blocks, and where no file could hold it. */
function tensorBytes(cursor: Cursor, name: string, type: GgmlType, shape: readonly number[]): number {
  const row = shape.at(-1) ?? 1
  if (row % type.elements !== 0) throw cursor.refusal(...partOfBlock(name, type, row))
  let blocks = row / type.elements
  for (const n of shape.slice(0, -1)) {
    blocks *= n
    if (blocks * type.bytes > Number.MAX_SAFE_INTEGER) break
  }
  const bytes = blocks * type.bytes
  if (bytes <= Number.MAX_SAFE_INTEGER) return bytes
  throw cursor.refusal(
    `is damaged: tensor ${quoted(name)} has the shape ${shapeText(shape)}, more than a file can hold; fetch it again`,
    name,
  )
}

const partOfBlock = (name: string, type: GgmlType, row: number): Parameters<Cursor['refusal']> => [
  `is damaged: tensor ${quoted(name)} has rows of ${row} numbers, and ${type.name} comes in blocks of ${type.elements}; fetch it again`,
  name,
]
