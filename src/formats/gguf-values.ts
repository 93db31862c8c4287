import { badInput, type LoraSvdError } from '../errors.ts'
import { quoted } from '../text/quote.ts'
import { type GgufArray, type GgufScalar, SCALAR_BYTES, type ScalarType, VALUE_TYPES } from './gguf-types.ts'

/** Elements of an array that are kept: settings of each layer fit; a tokenizer's words are passed over. */
export const KEPT_ELEMENTS = 4096

/** An array that is longer than what is kept: how long it is. */
export interface LongArray {
  readonly type: 'array'
  readonly of: ScalarType
  readonly count: number
}

export type GgufValue = GgufScalar | GgufArray | LongArray

/** Thrown where the bytes at hand end and those of the file don't: more of them have to be read. */
export class MoreBytesNeeded extends Error {}

/** A place in the bytes that a file begins with. */
export interface Cursor {
  readonly at: () => number
  /** Goes past so many bytes. Throws MoreBytesNeeded, and `bad-input` past the end of the file. */
  readonly skip: (count: number) => void
  readonly u32: () => number
  /** A length or count: past 2^53 it is no longer exact, and past every file's end. */
  readonly u64: () => number
  readonly scalar: (type: ScalarType) => GgufScalar['value']
  /** A string; `bad-input` where it isn't UTF-8. `what` is what the message calls it. */
  readonly name: (what: string) => string
  /** The refusal of what stands here. */
  readonly refusal: (problem: string, tensor?: string) => LoraSvdError
}

/** Reads on from the start of `bytes`, the first of a file of `byteLength` bytes. */
export function cursorOf(bytes: Uint8Array, file: string, byteLength: number): Cursor {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  let at = 0

  /** The place where `count` bytes are, which it goes past. */
  const take = (count: number): number => {
    const start = at
    if (start + count > byteLength) {
      const asked = Number.isSafeInteger(count) ? `${count} bytes` : 'more bytes than any file has'
      throw refusal(
        `has a GGUF header that asks for ${asked} at byte ${start}, and ends at byte ${byteLength}: it is cut off or damaged; fetch it again`,
      )
    }
    if (start + count > bytes.length) throw new MoreBytesNeeded()
    at = start + count
    return start
  }
  const refusal = (problem: string, tensor?: string) =>
    badInput(`${file}: the file ${problem}`, { file, ...(tensor !== undefined && { tensor }) })
  const u32 = () => view.getUint32(take(4), true)
  const u64 = () => Number(view.getBigUint64(take(8), true))
  const text = () => {
    const length = u64()
    const start = take(length)
    return bytes.subarray(start, start + length)
  }

  const readers: Readonly<Record<ScalarType, () => GgufScalar['value']>> = {
    u8: () => view.getUint8(take(1)),
    i8: () => view.getInt8(take(1)),
    u16: () => view.getUint16(take(2), true),
    i16: () => view.getInt16(take(2), true),
    u32,
    i32: () => view.getInt32(take(4), true),
    f32: () => view.getFloat32(take(4), true),
    bool: () => view.getUint8(take(1)) !== 0,
    // a damaged text of metadata spoils nothing
    string: () => new TextDecoder().decode(text()),
    u64: () => view.getBigUint64(take(8), true),
    i64: () => view.getBigInt64(take(8), true),
    f64: () => view.getFloat64(take(8), true),
  }

  return {
    at: () => at,
    skip: (count) => void take(count),
    u32,
    u64,
    scalar: (type) => readers[type](),
    name: (what) => {
      const start = at
      try {
        return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(text())
      } catch (error) {
        if (!(error instanceof TypeError)) throw error
        throw refusal(`is damaged: ${what} at byte ${start} is not UTF-8 text; fetch it again`)
      }
    },
    refusal,
  }
}

/** The value of a key: its type, and then what is of it. Throws as the cursor does, and `bad-input` for a type that isn't one. */
export function readValue(cursor: Cursor, key: string): GgufValue {
  const type = readType(cursor, key)
  if (type !== 'array') return { type, value: cursor.scalar(type) } as GgufScalar
  const of = readType(cursor, key)
  if (of === 'array')
    throw cursor.refusal(`has an array of arrays under ${quoted(key)}, which llama.cpp refuses too`)
  const count = cursor.u64()
  if (count > KEPT_ELEMENTS) {
    passOver(cursor, of, count)
    return { type, of, count }
  }
  const values: GgufScalar['value'][] = []
  for (let i = 0; i < count; i++) values.push(cursor.scalar(of))
  return { type, of, values }
}

function readType(cursor: Cursor, key: string): (typeof VALUE_TYPES)[number] {
  const code = cursor.u32()
  const type = VALUE_TYPES[code]
  if (type !== undefined) return type
  throw cursor.refusal(
    `is damaged: the key ${quoted(key)} has the type ${code}, which is none of GGUF's (0 to ${VALUE_TYPES.length - 1}); fetch it again`,
  )
}

function passOver(cursor: Cursor, of: ScalarType, count: number): void {
  if (of !== 'string') {
    cursor.skip(count * SCALAR_BYTES[of])
    return
  }
  for (let i = 0; i < count; i++) cursor.skip(cursor.u64())
}
