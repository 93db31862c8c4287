import type { ErrorPlace, LoraSvdError } from '../errors.ts'
import type { ByteSource } from '../io/source.ts'
import type { Matrix } from '../linalg/matrix/matrix.ts'
import { decodeNumbers } from './dtype.ts'
import { storedDtypeOf, type TensorDtype } from './safetensors-dtype.ts'
import type { ZipEntry } from './zip.ts'

/** What a header says of one tensor. Plain data, so that a worker can be sent it. */
export interface TensorInfo {
  readonly name: string
  readonly dtype: TensorDtype
  readonly shape: readonly number[]
  /** How many bytes its numbers take: by rows, little-endian, as wide as its dtype says, or in whole blocks. */
  readonly bytes: number
  /** Where in the source just these bytes lie. Without a range they are made of the whole file or the whole member of an archive. */
  readonly range?: { readonly begin: number; readonly end: number }
  /** The member of a zip archive that holds it. */
  readonly member?: ZipEntry
}

/** What one format finds in a source, from its headers alone. */
export interface Contents {
  readonly format: 'safetensors' | 'gguf' | 'npy' | 'npz' | 'text'
  /** All names that the source lists, in its order. */
  readonly names: readonly string[]
  /** Those that can be read, in that order. */
  readonly tensors: ReadonlyMap<string, TensorInfo>
  /** Texts by their keys, as safetensors keeps them. */
  readonly metadata: ReadonlyMap<string, string>
  /** Why each of the others can't be read. */
  readonly refused: ReadonlyMap<string, LoraSvdError>
  /** What a user should know and what stops nothing. */
  readonly warnings: readonly string[]
  /** Bytes up to the numbers, where they are read into memory at once. */
  readonly headerBytes: number
  /** All bytes of a tensor that has no range; not there where all have one. Throws `bad-input` where the source is damaged. */
  decode?(tensor: TensorInfo): Promise<Uint8Array>
}

/** Named tensors, of whatever format and wherever they lie. Only their headers have been read. */
export interface TensorSet extends Omit<Contents, 'decode'> {
  /** What messages call the source. */
  readonly source: ByteSource
  /**
   * The bytes [from, to) of a tensor's numbers: by rows, little-endian, as wide as its dtype says. With `into` they are put there, and
   * that part of it is given back; without, the result may share the source's memory. A tensor without a range is decoded whole, once
   * as long as no other is asked for. Throws RangeError for a name that isn't there and past the tensor's end, and as the source and
   * the format do.
   */
  read(name: string, from: number, to: number, into?: Uint8Array): Promise<Uint8Array>
}

/** The set of what a format has found in a source, which must stay open as long as it is read. */
export function tensorSet(source: ByteSource, { decode, ...contents }: Contents): TensorSet {
  let last: { readonly name: string; readonly bytes: Promise<Uint8Array> } | undefined
  return {
    ...contents,
    source,
    read: async (name, from, to, into) => {
      const tensor = contents.tensors.get(name)
      if (tensor === undefined) throw new RangeError(`${source.name}: holds no tensor ${name}`)
      if (!(from >= 0 && from <= to && to <= tensor.bytes)) {
        throw new RangeError(`${name}: bytes ${from} to ${to} are outside 0 to ${tensor.bytes}`)
      }
      const target = into?.subarray(0, to - from)
      if (tensor.range !== undefined) {
        const { begin } = tensor.range
        if (target === undefined) return source.read(begin + from, begin + to)
        await source.readInto(target, begin + from)
        return target
      }
      if (decode === undefined) throw new RangeError(`${name}: has no range, and nothing decodes it`)
      if (last?.name !== name) last = { name, bytes: decode(tensor) }
      const part = (await last.bytes).subarray(from, to)
      target?.set(part)
      return target ?? part
    },
  }
}

/**
 * A tensor of two dimensions as a matrix, of another number [its first, all others]: f64 and integers as float64, all others widened to float32, exactly. Throws RangeError for
 * a dtype that isn't read, `bad-input` for integers past ±2^53, and as `TensorSet.read` does. `place` is what errors name.
 */
export async function readMatrixOf(set: TensorSet, name: string, place: ErrorPlace): Promise<Matrix> {
  const { dtype, shape, bytes } = set.tensors.get(name)!
  const [rows = 1, ...others] = shape
  const columns = others.reduce((product, n) => product * n, 1)
  const data = decodeNumbers(
    await set.read(name, 0, bytes),
    storedDtypeOf(dtype),
    place,
    (i) => `the entry at row ${Math.floor(i / columns) + 1}, column ${(i % columns) + 1}`,
  )
  return { rows, columns, data }
}
