import { badInput } from '../errors.ts'
import { quoted, shapeText } from '../text/quote.ts'
import { bytesPerElement } from './dtype.ts'
import { GGUF_MAGIC } from './gguf-header.ts'
import {
  ALIGNMENT_KEY,
  DEFAULT_ALIGNMENT,
  GGML_CODES,
  type GgufArray,
  type GgufScalar,
  padded,
  SCALAR_BYTES,
  type ScalarType,
  VALUE_TYPES,
  type ValueType,
} from './gguf-types.ts'
import { dataChunks, type TensorToWrite } from './safetensors-writer.ts'

/** The floats that llama.cpp takes in an adapter: with F64 its process ends. */
export type GgufFloat = keyof typeof GGML_CODES

/** A tensor to write. A function for `data` is called when its turn comes, so that one tensor at a time is held. */
export interface GgufTensorToWrite extends Pick<TensorToWrite, 'name' | 'shape' | 'data'> {
  readonly dtype: GgufFloat
}

/** Values by their keys, each under its type: llama.cpp asks for just that type. */
export type GgufMetadata = ReadonlyMap<string, GgufScalar | GgufArray>

/** The tensors in their order, the bytes before their data, and the length of it all. */
export interface GgufLayout {
  readonly tensors: readonly GgufTensorToWrite[]
  readonly header: Uint8Array
  readonly byteLength: number
}

const VERSION = 3

/** GGML_MAX_NAME of ggml/include/ggml.h is 64 with the zero at its end: longer names are refused (ggml/src/gguf.cpp, @067d44f6). */
const LONGEST_NAME_BYTES = 63

/** GGML_MAX_DIMS of ggml/include/ggml.h. */
const MOST_DIMENSIONS = 4

/** Enough for most adapters' headers; it grows. */
const FIRST_BYTES = 2 ** 16

/**
 * Where everything goes: keys and tensors in the order given, each tensor right after the one before, all at multiples of 32, as
 * llama.cpp demands and gguf-py writes (gguf-py/gguf/gguf_writer.py). Throws `bad-input` for what llama.cpp would refuse: a name or key
 * twice, a name of more than 63 bytes, more than four dimensions; RangeError for a value that its type doesn't hold.
 */
export function layoutGguf(tensors: readonly GgufTensorToWrite[], metadata: GgufMetadata): GgufLayout {
  const head = byteList()
  head.ascii(GGUF_MAGIC)
  head.number('u32', VERSION)
  head.number('u64', BigInt(tensors.length))
  head.number('u64', BigInt(metadata.size))
  for (const [key, value] of metadata) {
    if (key === ALIGNMENT_KEY)
      throw new RangeError(`${ALIGNMENT_KEY}: tensors are laid out at multiples of 32`)
    head.text(key)
    putValue(head, value)
  }
  const names = new Set<string>()
  let position = 0
  for (const { name, dtype, shape } of tensors) {
    if (names.has(name)) throw badInput(`can't write two tensors named ${quoted(name)}`, { tensor: name })
    names.add(name)
    if (head.text(name) > LONGEST_NAME_BYTES) {
      throw badInput(
        `the name ${quoted(name)} is longer than the ${LONGEST_NAME_BYTES} bytes that GGUF allows`,
        {
          tensor: name,
        },
      )
    }
    const bytes = tensorBytes(name, shape, dtype)
    head.number('u32', shape.length)
    for (const n of [...shape].reverse()) head.number('u64', BigInt(n))
    head.number('u32', GGML_CODES[dtype])
    head.number('u64', BigInt(position))
    position += padded(bytes, DEFAULT_ALIGNMENT)
  }
  const header = head.padded(DEFAULT_ALIGNMENT)
  return { tensors, header, byteLength: header.length + position }
}

/** The bytes of the file, piece by piece. Throws RangeError where a tensor's data isn't as long as its shape says. */
export async function* ggufChunks({ header, tensors }: GgufLayout): AsyncGenerator<Uint8Array> {
  yield header
  for (const { name, dtype, shape, data } of tensors) {
    const bytes = tensorBytes(name, shape, dtype)
    yield* dataChunks(name, data, dtype, bytes)
    const rest = padded(bytes, DEFAULT_ALIGNMENT) - bytes
    if (rest > 0) yield new Uint8Array(rest)
  }
}

function tensorBytes(name: string, shape: readonly number[], dtype: GgufFloat): number {
  const bytes = shape.reduce((product, n) => product * n, 1) * bytesPerElement(dtype)
  if (shape.length <= MOST_DIMENSIONS && Number.isSafeInteger(bytes) && bytes >= 0) return bytes
  throw badInput(
    `tensor ${quoted(name)}: the shape ${shapeText(shape)} can't be written; GGUF holds ${MOST_DIMENSIONS} dimensions`,
    { tensor: name },
  )
}

function putValue(head: ByteList, found: GgufScalar | GgufArray): void {
  head.number('u32', codeOf(found.type))
  if (found.type !== 'array') {
    putScalar(head, found.type, found.value)
    return
  }
  head.number('u32', codeOf(found.of))
  head.number('u64', BigInt(found.values.length))
  for (const value of found.values) putScalar(head, found.of, value)
}

const codeOf = (type: ValueType) => VALUE_TYPES.indexOf(type)

function putScalar(head: ByteList, type: ScalarType, value: GgufScalar['value']): void {
  if (typeof value === 'string' && type === 'string') head.text(value)
  else if (typeof value === 'boolean' && type === 'bool') head.number('u8', value ? 1 : 0)
  else if (typeof value !== 'string' && typeof value !== 'boolean' && type !== 'string' && type !== 'bool') {
    head.number(type, value)
  } else throw new RangeError(`${value} is no ${type}`)
}

type NumberType = Exclude<ScalarType, 'string' | 'bool'>

const SETTERS: Readonly<Record<NumberType, (view: DataView, at: number, value: never) => void>> = {
  u8: (view, at, value) => view.setUint8(at, value),
  i8: (view, at, value) => view.setInt8(at, value),
  u16: (view, at, value) => view.setUint16(at, value, true),
  i16: (view, at, value) => view.setInt16(at, value, true),
  u32: (view, at, value) => view.setUint32(at, value, true),
  i32: (view, at, value) => view.setInt32(at, value, true),
  f32: (view, at, value) => view.setFloat32(at, value, true),
  u64: (view, at, value) => view.setBigUint64(at, value, true),
  i64: (view, at, value) => view.setBigInt64(at, value, true),
  f64: (view, at, value) => view.setFloat64(at, value, true),
}

/** Whether a value is one of its type's: what would come out as another number is none. */
function isOf(type: NumberType, value: number | bigint): boolean {
  if (type === 'f32' || type === 'f64') return typeof value === 'number'
  const bits = 8 * SCALAR_BYTES[type]
  if (bits === 64 ? typeof value !== 'bigint' : !Number.isInteger(value)) return false
  const fitted = type.startsWith('u')
    ? BigInt.asUintN(bits, BigInt(value))
    : BigInt.asIntN(bits, BigInt(value))
  return fitted === BigInt(value)
}

type ByteList = ReturnType<typeof byteList>

/** Bytes put one after the other. */
function byteList() {
  let bytes = new Uint8Array(FIRST_BYTES)
  let view = new DataView(bytes.buffer)
  let length = 0
  /** The place of so many more bytes. */
  const room = (count: number) => {
    if (length + count > bytes.length) {
      const larger = new Uint8Array(Math.max(2 * bytes.length, length + count))
      larger.set(bytes)
      bytes = larger
      view = new DataView(bytes.buffer)
    }
    length += count
    return length - count
  }
  const number = (type: NumberType, value: number | bigint) => {
    if (!isOf(type, value)) throw new RangeError(`${value} is no ${type}`)
    const at = room(SCALAR_BYTES[type])
    SETTERS[type](view, at, value as never)
  }
  const put = (piece: Uint8Array) => {
    const at = room(piece.length)
    bytes.set(piece, at)
  }
  return {
    number,
    ascii: (text: string) => put(new TextEncoder().encode(text)),
    /** A string with its length before it; how many bytes that is. */
    text: (text: string) => {
      if (/\p{Cs}/u.test(text)) {
        throw badInput(`the text ${quoted(text)} holds half a surrogate pair and can't be written`)
      }
      const encoded = new TextEncoder().encode(text)
      number('u64', BigInt(encoded.length))
      put(encoded)
      return encoded.length
    },
    padded: (alignment: number) => {
      room(padded(length, alignment) - length)
      return bytes.slice(0, length)
    },
  }
}
