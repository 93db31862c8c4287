import { badInput } from '../errors.ts'
import type { FloatArray } from '../linalg/matrix/matrix.ts'
import { compareUtf8 } from '../text/compare.ts'
import { quoted, shapeText } from '../text/quote.ts'
import { bytesPerElement, encodeFloats, type FloatDtype } from './dtype.ts'
import { bitsPerElement, floatDtypeOf, layoutRank, type SafetensorsDtype } from './safetensors-dtype.ts'

/** Stored bytes (little-endian, as read from a file), or floats that are rounded to the tensor's dtype when written. */
export type TensorData = Uint8Array | FloatArray

/** A tensor to write. A function for `data` is called when its turn comes, so that one tensor at a time is held. */
export interface TensorToWrite {
  readonly name: string
  readonly dtype: SafetensorsDtype
  readonly shape: readonly number[]
  readonly data: TensorData | (() => TensorData | Promise<TensorData>)
}

/** The order of the tensors in the file, the bytes before their data, and the length of it all. */
export interface SafetensorsLayout {
  readonly tensors: readonly TensorToWrite[]
  readonly header: Uint8Array
  readonly byteLength: number
}

/** The data starts at a multiple of this, so that 8-byte elements are aligned in a mapped file. */
const ALIGNMENT = 8

/** Floats are converted this many at a time: 8 MiB of float64, so that no second copy of a tensor is held. */
const SLAB_ELEMENTS = 2 ** 20

/**
 * Where everything goes, as the reference writer lays it out: larger dtypes first, then names by their UTF-8 bytes;
 * compact JSON padded with spaces. Metadata keys are sorted too (the reference's order is by chance).
 * Throws `bad-input` on a name twice or reserved, and on shapes that aren't whole bytes.
 */
export function layoutSafetensors(
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>> | ReadonlyMap<string, string> = {},
): SafetensorsLayout {
  const sorted = [...tensors].sort(
    (a, b) => layoutRank(a.dtype) - layoutRank(b.dtype) || compareUtf8(a.name, b.name),
  )
  const members: string[] = []
  const pairs = metadata instanceof Map ? [...metadata] : Object.entries(metadata)
  if (pairs.length > 0) {
    const sortedPairs = pairs.sort(([a], [b]) => compareUtf8(a, b))
    const text = sortedPairs.map(([key, value]) => `${jsonString(key)}:${jsonString(value)}`)
    members.push(`"__metadata__":{${text.join(',')}}`)
  }
  const names = new Set<string>(['__metadata__'])
  let position = 0
  for (const { name, dtype, shape } of sorted) {
    if (names.has(name)) throw badInput(`can't write two tensors named ${quoted(name)}`, { tensor: name })
    names.add(name)
    const end = position + tensorBytes(name, dtype, shape)
    members.push(
      `${jsonString(name)}:{"dtype":"${dtype}","shape":[${shape.join(',')}],"data_offsets":[${position},${end}]}`,
    )
    position = end
  }
  const json = new TextEncoder().encode(`{${members.join(',')}}`)
  const padded = Math.ceil(json.length / ALIGNMENT) * ALIGNMENT
  const header = new Uint8Array(ALIGNMENT + padded).fill(0x20)
  new DataView(header.buffer).setBigUint64(0, BigInt(padded), true)
  header.set(json, ALIGNMENT)
  return { tensors: sorted, header, byteLength: header.length + position }
}

/** The bytes of the file, piece by piece. Throws RangeError where a tensor's data isn't as long as its shape says. */
export async function* safetensorsChunks(layout: SafetensorsLayout): AsyncGenerator<Uint8Array> {
  yield layout.header
  for (const { name, dtype, shape, data } of layout.tensors) {
    yield* dataChunks(name, data, floatDtypeOf(dtype), tensorBytes(name, dtype, shape))
  }
}

/**
 * The bytes of a tensor, piece by piece: as they are, or floats rounded to `dtype`. Throws RangeError where there are others than
 * `expected` bytes, and for floats without a dtype.
 */
export async function* dataChunks(
  name: string,
  data: TensorToWrite['data'],
  dtype: FloatDtype | undefined,
  expected: number,
): AsyncGenerator<Uint8Array> {
  const values = typeof data === 'function' ? await data() : data
  if (values instanceof Uint8Array) {
    checkLength(name, values.length, expected)
    yield values
  } else {
    if (dtype === undefined) throw new RangeError(`${name}: floats can't be written in that dtype`)
    checkLength(name, values.length * bytesPerElement(dtype), expected)
    yield* encodedSlabs(values, dtype)
  }
}

function* encodedSlabs(values: FloatArray, dtype: FloatDtype): Generator<Uint8Array> {
  for (let start = 0; start < values.length; start += SLAB_ELEMENTS) {
    yield encodeFloats(values.subarray(start, start + SLAB_ELEMENTS), dtype)
  }
}

function tensorBytes(name: string, dtype: SafetensorsDtype, shape: readonly number[]): number {
  const bytes = (shape.reduce((product, n) => product * n, 1) * bitsPerElement(dtype)) / 8
  if (Number.isSafeInteger(bytes) && bytes >= 0) return bytes
  throw badInput(`tensor ${quoted(name)}: shape ${shapeText(shape)} and dtype ${dtype} are no whole bytes`, {
    tensor: name,
  })
}

function checkLength(name: string, found: number, expected: number): void {
  if (found !== expected) throw new RangeError(`${name}: ${found} bytes of data, its shape needs ${expected}`)
}

function jsonString(text: string): string {
  if (/\p{Cs}/u.test(text))
    throw badInput(`the name ${quoted(text)} holds half a surrogate pair and can't be written`)
  return JSON.stringify(text)
}
