import { bitsPerElement, readableFloatOf } from '../formats/safetensors-dtype.ts'
import type { FloatArray } from '../matrix/matrix.ts'
import { decodeStored, readArrayOfFile, readBytes, withBytes } from './read.ts'
import type { StoredTensor } from './types.ts'

/** Elements compared at first, of each tensor: where a fine-tune changed a matrix, it shows in a few. */
const FIRST_ELEMENTS = 2 ** 13
/** Compared at once at most; 4 MiB where an element takes two bytes. */
const MOST_ELEMENTS = 2 ** 21
/** Each comparison takes so many times as many as the one before. */
const GROWTH = 4

/**
 * Whether two tensors hold the same numbers in the same shape. Of one dtype: the same bytes. Of two: the same numbers once
 * widened, where 0 is −0 and every NaN like another; false where one isn't of floats. Reads in chunks, up to the first
 * difference.
 */
export async function sameNumbers(a: StoredTensor, b: StoredTensor): Promise<boolean> {
  if (a.shape.length !== b.shape.length || a.shape.some((n, i) => n !== b.shape[i])) return false
  if (!isStoredInBytes(a) || !isStoredInBytes(b)) {
    const [x, y] = await Promise.all([valuesOf(a), valuesOf(b)])
    return x !== undefined && y !== undefined && sameValues(x, y)
  }
  if (a.dtype === b.dtype) return sameChunks(a, b, (x, y) => Buffer.compare(x, y) === 0)
  const [ofA, ofB] = [readableFloatOf(a.dtype), readableFloatOf(b.dtype)]
  if (ofA === undefined || ofB === undefined) return false
  return sameChunks(a, b, (x, y) => sameValues(decodeStored(x, ofA), decodeStored(y, ofB)))
}

const isStoredInBytes = ({ source }: StoredTensor) => source.kind === 'range' || source.kind === 'bytes'

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

const bytesPerEntry = ({ dtype }: StoredTensor) => bitsPerElement(dtype) / 8

function sameValues(x: FloatArray, y: FloatArray): boolean {
  for (let i = 0; i < x.length; i++) {
    if (x[i] !== y[i] && !(Number.isNaN(x[i]) && Number.isNaN(y[i]))) return false
  }
  return true
}

/** All numbers of a tensor of floats, or of an array. */
async function valuesOf(tensor: StoredTensor): Promise<FloatArray | undefined> {
  const { source, dtype } = tensor
  if (source.kind === 'memory') return source.matrix.data
  if (source.kind === 'file') return (await readArrayOfFile(source)).data
  const float = readableFloatOf(dtype)
  return float === undefined ? undefined : decodeStored(await readBytes(tensor), float)
}
