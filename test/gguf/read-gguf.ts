/**
 * A small reader of GGUF files of version 3, by ggml's docs/gguf.md alone, with nothing of what writes them. It refuses what
 * llama.cpp refuses: tensors that aren't one after the other at the alignment, and data that end early or late.
 */

export interface GgufValue {
  /** GGUF's code of the type; of an array's elements. */
  readonly type: number
  readonly isArray: boolean
  readonly value: GgufScalar | readonly GgufScalar[]
}

export type GgufScalar = number | bigint | string | boolean

export interface GgufTensor {
  /** As the file has them, the fastest first. */
  readonly dimensions: readonly number[]
  readonly type: number
  readonly offset: number
  readonly bytes: Buffer
}

export interface Gguf {
  readonly version: number
  readonly keys: ReadonlyMap<string, GgufValue>
  readonly tensors: ReadonlyMap<string, GgufTensor>
}

const ARRAY = 9
const F32 = 0
const DEFAULT_ALIGNMENT = 32

class Cursor {
  at = 0
  readonly #file: Buffer
  constructor(file: Buffer) {
    this.#file = file
  }
  #take(length: number): Buffer {
    this.at += length
    if (this.at > this.#file.length) throw new RangeError('the file ends early')
    return this.#file.subarray(this.at - length, this.at)
  }
  text = (length: number) => this.#take(length).toString('utf8')
  u32 = () => this.#take(4).readUInt32LE()
  u64 = () => Number(this.#take(8).readBigUInt64LE())
  string = () => this.text(this.u64())
  scalar(type: number): GgufScalar {
    switch (type) {
      case 0:
        return this.#take(1).readUInt8()
      case 4:
        return this.u32()
      case 5:
        return this.#take(4).readInt32LE()
      case 6:
        return this.#take(4).readFloatLE()
      case 7:
        return this.#take(1).readUInt8() === 1
      case 8:
        return this.string()
      case 10:
        return this.#take(8).readBigUInt64LE()
      case 12:
        return this.#take(8).readDoubleLE()
      default:
        throw new RangeError(`a value of type ${type}`)
    }
  }
  value(): GgufValue {
    const type = this.u32()
    if (type !== ARRAY) return { type, isArray: false, value: this.scalar(type) }
    const element = this.u32()
    const length = this.u64()
    return { type: element, isArray: true, value: Array.from({ length }, () => this.scalar(element)) }
  }
}

export function readGguf(file: Buffer): Gguf {
  const cursor = new Cursor(file)
  if (cursor.text(4) !== 'GGUF') throw new RangeError('not a GGUF file')
  const version = cursor.u32()
  const tensorCount = cursor.u64()
  const keyCount = cursor.u64()
  const keys = new Map<string, GgufValue>()
  for (let i = 0; i < keyCount; i++) keys.set(cursor.string(), cursor.value())
  const infos = Array.from({ length: tensorCount }, () => ({
    name: cursor.string(),
    dimensions: Array.from({ length: cursor.u32() }, () => cursor.u64()),
    type: cursor.u32(),
    offset: cursor.u64(),
  }))
  const alignment = Number(keys.get('general.alignment')?.value ?? DEFAULT_ALIGNMENT)
  const padded = (length: number) => Math.ceil(length / alignment) * alignment
  const start = padded(cursor.at)
  let end = 0
  const tensors = new Map<string, GgufTensor>()
  for (const { name, ...info } of infos) {
    if (info.offset !== end) throw new RangeError(`${name} is at ${info.offset} and not at ${end}`)
    if (info.type !== F32) throw new RangeError(`${name} is of type ${info.type}`)
    const length = 4 * info.dimensions.reduce((a, b) => a * b)
    end += padded(length)
    tensors.set(name, {
      ...info,
      bytes: file.subarray(start + info.offset, start + info.offset + length),
    })
  }
  if (tensors.size !== tensorCount) throw new RangeError('two tensors of one name')
  if (file.length !== start + end) throw new RangeError(`${file.length} bytes and not ${start + end}`)
  return { version, keys, tensors }
}

/** A tensor's numbers. */
export const floatsOf = ({ bytes }: GgufTensor): number[] =>
  Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i))
