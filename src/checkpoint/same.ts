import type { FloatArray } from '../matrix/matrix.ts'
import { arrayOf, bytesPerEntry, isStoredInBytes, numbersOf } from './numbers.ts'
import { readBytes, withBytes } from './read.ts'
import { isSameForm } from './same-form.ts'
import type { StoredTensor } from './types.ts'

/** Elements compared at first, of each tensor: where a fine-tune changed a matrix, it shows in a few. */
const FIRST_ELEMENTS = 2 ** 13
/** Compared at once at most; 4 MiB where an element takes two bytes. */
const MOST_ELEMENTS = 2 ** 21
/** Each comparison takes so many times as many as the one before. */
const GROWTH = 4

/**
 * Whether two tensors hold the same numbers in the same shape, ones at its end aside. Of one dtype: the same bytes. Of two: the
 * same numbers once widened, where 0 is −0 and every NaN like another, floats or integers; false where one is of a dtype that
 * isn't read. Reads in chunks, up to the first difference.
 */
export async function sameNumbers(a: StoredTensor, b: StoredTensor): Promise<boolean> {
  if (!isSameForm(a.shape, b.shape)) return false
  if (!isStoredInBytes(a) || !isStoredInBytes(b)) {
    const [x, y] = await Promise.all([valuesOf(a), valuesOf(b)])
    return x !== undefined && y !== undefined && sameValues(x, y)
  }
  if (a.dtype === b.dtype) return sameChunks(a, b, (x, y) => Buffer.compare(x, y) === 0)
  return sameChunks(a, b, (x, y) => {
    const [ofA, ofB] = [numbersOf(x, a.dtype), numbersOf(y, b.dtype)]
    return ofA !== undefined && ofB !== undefined && sameValues(ofA, ofB)
  })
}

function sameChunks(
  a: StoredTensor,
  b: StoredTensor,
  isSame: (x: Uint8Array, y: Uint8Array) => boolean,
): Promise<boolean> {
  return withBytes(a.source, a.name, (readA) =>
    withBytes(b.source, b.name, async (readB) => {
      const [sizeA, sizeB] = [bytesPerEntry(a), bytesPerEntry(b)]
      const count = a.bytes / sizeA
      let wanted = FIRST_ELEMENTS
      for (let start = 0; start < count; ) {
        const end = Math.min(count, start + wanted)
        const [x, y] = await Promise.all([
          readA(start * sizeA, end * sizeA),
          readB(start * sizeB, end * sizeB),
        ])
        if (!isSame(x, y)) return false
        start = end
        wanted = Math.min(MOST_ELEMENTS, GROWTH * wanted)
      }
      return true
    }),
  )
}

function sameValues(x: FloatArray, y: FloatArray): boolean {
  for (let i = 0; i < x.length; i++) {
    if (x[i] !== y[i] && !(Number.isNaN(x[i]) && Number.isNaN(y[i]))) return false
  }
  return true
}

/** All numbers of a tensor, or of an array. */
async function valuesOf(tensor: StoredTensor): Promise<FloatArray | undefined> {
  return (await arrayOf(tensor)) ?? numbersOf(await readBytes(tensor), tensor.dtype)
}
