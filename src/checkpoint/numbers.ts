import { LoraSvdError } from '../errors.ts'
import { decodeIntegers } from '../formats/dtype.ts'
import { quoted } from '../formats/quote.ts'
import {
  bitsPerElement,
  readableFloatOf,
  type SafetensorsDtype,
  storedIntegerOf,
} from '../formats/safetensors-dtype.ts'
import type { FloatArray } from '../matrix/matrix.ts'
import { decodeStored, readArrayOfFile, withBytes } from './read.ts'
import type { StoredTensor } from './types.ts'

/** Entries read at once: 4 MiB where an entry takes two bytes. */
const CHUNK_ENTRIES = 2 ** 21

export const isStoredInBytes = ({ source }: StoredTensor) =>
  source.kind === 'range' || source.kind === 'bytes'
export const bytesPerEntry = ({ dtype }: StoredTensor) => bitsPerElement(dtype) / 8

/** The numbers that bytes stand for; undefined of a dtype that isn't read, and of integers past 2^53. */
export function numbersOf(bytes: Uint8Array, dtype: SafetensorsDtype): FloatArray | undefined {
  const float = readableFloatOf(dtype)
  if (float !== undefined) return decodeStored(bytes, float)
  const integer = storedIntegerOf(dtype)
  if (integer === undefined) return undefined
  try {
    return decodeIntegers(bytes, integer, true, {}, (i) => quoted(String(i)))
  } catch (error) {
    if (error instanceof LoraSvdError) return undefined
    throw error
  }
}

/** All numbers of an array that can only be read whole; undefined of what is stored in bytes. */
export async function arrayOf({ source }: StoredTensor): Promise<FloatArray | undefined> {
  if (source.kind === 'memory') return source.matrix.data
  if (source.kind === 'file') return (await readArrayOfFile(source)).data
  return undefined
}

/**
 * Gives `use` the numbers of a tensor in order, some at a time with the place of the first. False, at the first ones that
 * can't be read as numbers, where its dtype isn't read.
 */
export async function forEachChunk(
  tensor: StoredTensor,
  use: (numbers: FloatArray, start: number) => void,
): Promise<boolean> {
  const whole = await arrayOf(tensor)
  if (whole !== undefined) {
    use(whole, 0)
    return true
  }
  return withBytes(tensor.source, tensor.name, async (read) => {
    const size = bytesPerEntry(tensor)
    for (let start = 0; start < tensor.bytes / size; start += CHUNK_ENTRIES) {
      const end = Math.min(tensor.bytes, (start + CHUNK_ENTRIES) * size)
      const numbers = numbersOf(await read(start * size, end), tensor.dtype)
      if (numbers === undefined) return false
      use(numbers, start)
    }
    return true
  })
}
