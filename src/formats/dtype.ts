import { badInput, type ErrorPlace } from '../errors.ts'
import { type HalfDtype, narrowHalf, widenHalf } from '../linalg/matrix/half.ts'
import type { FloatArray } from '../linalg/matrix/matrix.ts'
import { largestAbs } from '../linalg/matrix/norms.ts'
import { BLOCK_SIZES, type BlockDtype, decodeBlocks, isBlockDtype } from './gguf-blocks.ts'

/** The float types read and written, named by their bits. */
export type FloatDtype = 'f64' | 'f32' | 'f16' | 'bf16'

/** The 8-bit float types read: OCP's E4M3 (no infinities; safetensors' F8_E4M3, torch's float8_e4m3fn) and E5M2. */
export type Float8Dtype = 'f8_e4m3' | 'f8_e5m2'

/** The integer types read, by NumPy's names: the short ones are ambiguous (`i8` is 8 bytes to NumPy, 8 bits to safetensors). */
export type IntegerDtype =
  | 'bool'
  | 'uint8'
  | 'int8'
  | 'uint16'
  | 'int16'
  | 'uint32'
  | 'int32'
  | 'uint64'
  | 'int64'

/** A type in which each number has bytes of its own. */
export type PlainDtype = FloatDtype | Float8Dtype | IntegerDtype

export type StoredDtype = PlainDtype | BlockDtype

const BYTES: Record<PlainDtype, number> = {
  f64: 8,
  f32: 4,
  f16: 2,
  bf16: 2,
  f8_e4m3: 1,
  f8_e5m2: 1,
  bool: 1,
  uint8: 1,
  int8: 1,
  uint16: 2,
  int16: 2,
  uint32: 4,
  int32: 4,
  uint64: 8,
  int64: 8,
}

/** The least magnitude that rounds to infinity: half a unit past the largest finite number, where the tie goes up. */
const ROUNDS_TO_INFINITY: Record<FloatDtype, number> = {
  f64: Number.POSITIVE_INFINITY,
  f32: 2 ** 128 - 2 ** 103,
  bf16: 2 ** 128 - 2 ** 119,
  f16: 65520,
}

/** The largest magnitude that rounds to zero: half the least subnormal number, where the tie goes to zero. */
const ROUNDS_TO_ZERO: Record<FloatDtype, number> = {
  f64: 0,
  f32: 2 ** -150,
  bf16: 2 ** -134,
  f16: 2 ** -25,
}

const HOST_IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

/** Of numbers in blocks their share of the block, which is no whole number. */
export const bytesPerElement = (dtype: StoredDtype) =>
  isBlockDtype(dtype) ? BLOCK_SIZES[dtype].bytes / BLOCK_SIZES[dtype].elements : BYTES[dtype]

/** Of factors of a matrix that is stored so: none are stored in blocks, and of those that are, float16 are the nearest in size. */
export const bytesPerFactorElement = (dtype: StoredDtype) => (isBlockDtype(dtype) ? BYTES.f16 : BYTES[dtype])

export const isHalf = (dtype: StoredDtype): dtype is HalfDtype => dtype === 'f16' || dtype === 'bf16'

/**
 * Floats from their bytes, little-endian and at any byte offset: f64 as float64, the others widened exactly to float32.
 * The result shares the memory of `bytes` where no conversion or alignment is needed.
 */
export function decodeFloats(bytes: Uint8Array, dtype: FloatDtype): FloatArray {
  const { buffer, byteOffset } = inHostOrder(bytes, BYTES[dtype])
  const count = bytes.length / BYTES[dtype]
  if (dtype === 'f64') return new Float64Array(buffer, byteOffset, count)
  if (dtype === 'f32') return new Float32Array(buffer, byteOffset, count)
  return widenHalf(new Uint16Array(buffer, byteOffset, count), dtype)
}

/** The bits of 16-bit floats from their bytes, little-endian and at any byte offset; shares the memory where it can. */
export function decodeHalfBits(bytes: Uint8Array): Uint16Array {
  const { buffer, byteOffset } = inHostOrder(bytes, 2)
  return new Uint16Array(buffer, byteOffset, bytes.length / 2)
}

/**
 * Floats as little-endian bytes of `dtype`, each rounded once, to nearest, ties to even. Past the largest finite
 * number of `dtype` the result is infinity, as IEEE 754 says: ask `findOverflow` first. May share the memory of `values`.
 */
export function encodeFloats(values: FloatArray, dtype: FloatDtype): Uint8Array {
  const typed = isHalf(dtype) ? narrowHalf(values, dtype) : asWide(values, dtype)
  const bytes = new Uint8Array(typed.buffer, typed.byteOffset, typed.byteLength)
  return HOST_IS_LITTLE_ENDIAN ? bytes : swapBytes(bytes, BYTES[dtype])
}

/** The little-endian bytes of 16-bit floats from their bits; shares the memory where it can. */
export function encodeHalfBits(bits: Uint16Array): Uint8Array {
  const bytes = new Uint8Array(bits.buffer, bits.byteOffset, bits.byteLength)
  return HOST_IS_LITTLE_ENDIAN ? bytes : swapBytes(bytes, 2)
}

/** Whether all values are finite, not all zero, and the largest of them neither overflows nor vanishes when stored as `dtype`. */
export function isPlainlyHeld(values: FloatArray, dtype: FloatDtype): boolean {
  const largest = largestAbs(values)
  return largest > ROUNDS_TO_ZERO[dtype] && largest < ROUNDS_TO_INFINITY[dtype]
}

/** The index of the first finite value that becomes infinite when stored as `dtype`, or −1. */
export function findOverflow(values: FloatArray, dtype: FloatDtype): number {
  const limit = ROUNDS_TO_INFINITY[dtype]
  for (let i = 0; i < values.length; i++) {
    const magnitude = Math.abs(values[i])
    if (magnitude >= limit && magnitude !== Number.POSITIVE_INFINITY) return i
  }
  return -1
}

/** Whether numbers that aren't all zero are all zero when stored as `dtype`. */
export function vanishes(values: FloatArray, dtype: FloatDtype): boolean {
  const largest = largestAbs(values)
  return largest > 0 && largest <= ROUNDS_TO_ZERO[dtype]
}

/**
 * Integers (and booleans as 0 and 1) from their little-endian bytes as float64. Throws `bad-input` where a 64-bit one
 * is past ±2^53 and so may not be a float64; `describe` names the entry with that index.
 */
export function decodeIntegers(
  bytes: Uint8Array,
  dtype: IntegerDtype,
  place: ErrorPlace,
  describe: (index: number) => string,
): Float64Array {
  const { buffer, byteOffset } = inHostOrder(bytes, BYTES[dtype])
  const count = bytes.length / BYTES[dtype]
  switch (dtype) {
    case 'bool':
      return Float64Array.from(bytes, (byte) => (byte === 0 ? 0 : 1))
    case 'uint8':
      return Float64Array.from(bytes)
    case 'int8':
      return Float64Array.from(new Int8Array(buffer, byteOffset, count))
    case 'uint16':
      return Float64Array.from(new Uint16Array(buffer, byteOffset, count))
    case 'int16':
      return Float64Array.from(new Int16Array(buffer, byteOffset, count))
    case 'uint32':
      return Float64Array.from(new Uint32Array(buffer, byteOffset, count))
    case 'int32':
      return Float64Array.from(new Int32Array(buffer, byteOffset, count))
    case 'uint64':
      return exactIntegers(new BigUint64Array(buffer, byteOffset, count), place, describe)
    case 'int64':
      return exactIntegers(new BigInt64Array(buffer, byteOffset, count), place, describe)
  }
}

/**
 * Numbers of any type that is read from their little-endian bytes: f64 and integers as float64, the others widened to float32,
 * exactly; of blocks the float32 that their own program makes of them. Shares the memory of `bytes` where it can. Throws RangeError without a dtype, and as `decodeIntegers` does.
 */
export function decodeNumbers(
  bytes: Uint8Array,
  dtype: StoredDtype | undefined,
  place: ErrorPlace = {},
  describe = (index: number) => `entry ${index + 1}`,
): FloatArray {
  if (dtype === undefined) throw new RangeError('numbers of this type are not read')
  if (isBlockDtype(dtype)) return decodeBlocks(bytes, dtype)
  if (dtype === 'f8_e4m3' || dtype === 'f8_e5m2') return decodeFloat8(bytes, dtype)
  return isInteger(dtype) ? decodeIntegers(bytes, dtype, place, describe) : decodeFloats(bytes, dtype)
}

const isInteger = (dtype: PlainDtype): dtype is IntegerDtype => /int|bool/.test(dtype)

function exactIntegers(
  integers: BigInt64Array | BigUint64Array,
  place: ErrorPlace,
  describe: (index: number) => string,
): Float64Array {
  const out = new Float64Array(integers.length)
  for (let i = 0; i < out.length; i++) {
    const value = Number(integers[i])
    if (Math.abs(value) > 2 ** 53 || BigInt(value) !== integers[i]) {
      throw badInput(
        `${place.file ?? 'input'}: ${describe(i)} is ${integers[i]}, past ±2^53 where float64 no longer holds every integer; convert to float64 yourself`,
        place,
      )
    }
    out[i] = value
  }
  return out
}

const asWide = (values: FloatArray, dtype: 'f64' | 'f32') =>
  dtype === 'f64'
    ? values instanceof Float64Array
      ? values
      : Float64Array.from(values)
    : values instanceof Float32Array
      ? values
      : Float32Array.from(values)

/** Memory that starts at a multiple of `size` and holds `bytes`, which are little-endian, in the host's byte order. */
function inHostOrder(bytes: Uint8Array, size: number) {
  if (bytes.length % size !== 0) {
    throw new RangeError(`${bytes.length} bytes are no whole number of ${size}-byte elements`)
  }
  if (size > 1 && !HOST_IS_LITTLE_ENDIAN) return swapBytes(bytes, size)
  return bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes)
}

/** The bytes of each element of `size` bytes in the opposite order, in memory of its own. */
export function swapBytes(bytes: Uint8Array, size: number): Uint8Array {
  const out = new Uint8Array(bytes.length)
  for (let i = 0; i < bytes.length; i += size) {
    for (let k = 0; k < size; k++) out[i + k] = bytes[i + size - 1 - k]
  }
  return out
}

/** Exponent bits, fraction bits and bias of the two formats of "OCP 8-bit Floating Point Specification", revision 1.0. */
const FORMATS = {
  f8_e4m3: { exponentBits: 4, fractionBits: 3, bias: 7 },
  f8_e5m2: { exponentBits: 5, fractionBits: 2, bias: 15 },
} as const

const tables = new Map<Float8Dtype, Float32Array>()

/** Each number widened to float32, exactly. */
export function decodeFloat8(bytes: Uint8Array, dtype: Float8Dtype): Float32Array {
  const table = tableOf(dtype)
  const out = new Float32Array(bytes.length)
  for (let i = 0; i < out.length; i++) out[i] = table[bytes[i]]
  return out
}

function tableOf(dtype: Float8Dtype): Float32Array {
  const known = tables.get(dtype)
  if (known !== undefined) return known
  const table = Float32Array.from({ length: 256 }, (_, code) => float8Value(code, dtype))
  tables.set(dtype, table)
  return table
}

/** The number that a code stands for. E4M3 has no infinities and one NaN of each sign; E5M2 has those of IEEE 754. */
function float8Value(code: number, dtype: Float8Dtype): number {
  const { exponentBits, fractionBits, bias } = FORMATS[dtype]
  const sign = code & 0x80 ? -1 : 1
  const exponent = (code & 0x7f) >> fractionBits
  const fraction = code & (2 ** fractionBits - 1)
  const isHighest = exponent === 2 ** exponentBits - 1
  if (isHighest && dtype === 'f8_e5m2') return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  if (isHighest && fraction === 2 ** fractionBits - 1) return Number.NaN
  const significand = fraction / 2 ** fractionBits
  return exponent === 0
    ? sign * significand * 2 ** (1 - bias)
    : sign * (1 + significand) * 2 ** (exponent - bias)
}
