import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** A second writer and reader of GGUF, from ggml/docs/gguf.md alone, which know nothing of ours. */

export const ggufFixture = (name: string) =>
  fileURLToPath(new URL(`../fixtures/gguf/${name}`, import.meta.url))
export const ggufBytes = (name: string) => new Uint8Array(readFileSync(ggufFixture(name)))

const u32 = (n: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(n)
  return bytes
}
const u64 = (n: number | bigint) => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(n))
  return bytes
}
const text = (words: string | Buffer) => Buffer.concat([u64(Buffer.byteLength(words)), Buffer.from(words)])

/** A key, the number of its type, and the bytes of its value. */
export type RawKey = readonly [key: string | Buffer, type: number, value: Buffer]

export interface RawTensor {
  readonly name: string | Buffer
  readonly type?: number
  /** As GGUF lists them: the dimension that lies together first. */
  readonly dims?: readonly (number | bigint)[]
  readonly offset?: number | bigint
}

export interface RawFile {
  readonly magic?: string
  readonly version?: number
  readonly tensorCount?: number | bigint
  readonly keyCount?: number | bigint
  readonly keys?: readonly RawKey[]
  readonly tensors?: readonly RawTensor[]
  readonly alignment?: number
  readonly data?: Buffer
}

/** The file that these fields make, right or wrong. */
export function rawGguf({
  magic = 'GGUF',
  version = 3,
  keys = [],
  tensors = [],
  tensorCount = tensors.length,
  keyCount = keys.length,
  alignment = 32,
  data = Buffer.alloc(0),
}: RawFile): Uint8Array {
  const head = Buffer.concat([
    Buffer.from(magic),
    u32(version),
    u64(tensorCount),
    u64(keyCount),
    ...keys.map(([key, type, value]) => Buffer.concat([text(key), u32(type), value])),
    ...tensors.map(({ name, type = 0, dims = [4], offset = 0 }) =>
      Buffer.concat([text(name), u32(dims.length), ...dims.map(u64), u32(type), u64(offset)]),
    ),
  ])
  const padding = Buffer.alloc((alignment - (head.length % alignment)) % alignment)
  return new Uint8Array(Buffer.concat([head, padding, data]))
}

export const raw = { u32, u64, text, string: (words: string): [number, Buffer] => [8, text(words)] }

/** What a file holds, found by reading it once from its start to its end. Of types: f32, f16, bf16 and metadata of all kinds. */
export function readRaw(bytes: Uint8Array) {
  const buffer = Buffer.from(bytes)
  let at = 0
  const step = (n: number) => {
    at += n
    return at - n
  }
  const string = () => {
    const length = Number(buffer.readBigUInt64LE(step(8)))
    return buffer.toString('utf8', step(length), at)
  }
  const readers: readonly (() => unknown)[] = [
    () => buffer.readUInt8(step(1)),
    () => buffer.readInt8(step(1)),
    () => buffer.readUInt16LE(step(2)),
    () => buffer.readInt16LE(step(2)),
    () => buffer.readUInt32LE(step(4)),
    () => buffer.readInt32LE(step(4)),
    () => buffer.readFloatLE(step(4)),
    () => buffer.readUInt8(step(1)) === 1,
    string,
    () => {
      const of = buffer.readUInt32LE(step(4))
      return [of, Array.from({ length: Number(buffer.readBigUInt64LE(step(8))) }, () => readers[of]())]
    },
    () => buffer.readBigUInt64LE(step(8)),
    () => buffer.readBigInt64LE(step(8)),
    () => buffer.readDoubleLE(step(8)),
  ]
  const magic = buffer.toString('latin1', step(4), at)
  const version = buffer.readUInt32LE(step(4))
  const tensorCount = Number(buffer.readBigUInt64LE(step(8)))
  const keyCount = Number(buffer.readBigUInt64LE(step(8)))
  const keys = Array.from({ length: keyCount }, (): [string, [type: number, value: unknown]] => {
    const key = string()
    const type = buffer.readUInt32LE(step(4))
    return [key, [type, readers[type]()]]
  })
  const infos = Array.from({ length: tensorCount }, () => {
    const name = string()
    const dims = Array.from({ length: buffer.readUInt32LE(step(4)) }, () =>
      Number(buffer.readBigUInt64LE(step(8))),
    )
    return { name, dims, type: buffer.readUInt32LE(step(4)), offset: Number(buffer.readBigUInt64LE(step(8))) }
  })
  const dataStart = Math.ceil(at / 32) * 32
  return { magic, version, keys: Object.fromEntries(keys), infos, dataStart, length: buffer.length }
}
