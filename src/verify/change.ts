import { elementCount, readFloats } from '../adapter/read-stored.ts'
import { arrayOf, isStoredInBytes } from '../checkpoint/numbers.ts'
import { isSameForm } from '../checkpoint/same-form.ts'
import type { StoredTensor } from '../checkpoint/types.ts'
import { floatDtypeOf, readableFloatOf } from '../formats/safetensors-dtype.ts'
import { frobeniusNorm } from '../matrix/arithmetic.ts'
import type { FloatArray } from '../matrix/matrix.ts'

/** Frobenius norms of a change and of what it begins from. */
export interface Change {
  readonly delta: number
  readonly base: number
}

/** Entries compared at once. */
const CHUNK_ENTRIES = 2 ** 21

/**
 * ‖tuned − base‖_F of two tensors of floats, whatever their size; what one of them lacks counts as zero: all of a tensor that only
 * one model has, and the rows by which a vocabulary grew or shrank. Undefined where dtypes or shapes leave nothing to
 * compare. NaN and infinity show in the norms.
 */
export async function changeBetween(
  base: StoredTensor | undefined,
  tuned: StoredTensor | undefined,
): Promise<Change | undefined> {
  if (!isComparable(base, tuned)) return undefined
  const [readBase, readTuned] = [readerOf(base), readerOf(tuned)]
  const count = Math.max(...[base, tuned].map((one) => (one === undefined ? 0 : elementCount(one))))
  let change: Change = { delta: 0, base: 0 }
  for (let start = 0; start < count; start += CHUNK_ENTRIES) {
    const [before, after] = [await readBase(start), await readTuned(start)]
    const [longer, shorter] = before.length > after.length ? [before, after] : [after, before]
    const difference = Float64Array.from(longer, (x, i) => (i < shorter.length ? x - shorter[i] : x))
    change = {
      delta: Math.hypot(change.delta, frobeniusNorm(difference)),
      base: Math.hypot(change.base, frobeniusNorm(before)),
    }
  }
  return change
}

function isComparable(base: StoredTensor | undefined, tuned: StoredTensor | undefined): boolean {
  // what is alone may be quantised: eight bits are no numbers without their scales
  if (base === undefined || tuned === undefined) {
    const one = base ?? tuned
    return one !== undefined && floatDtypeOf(one.dtype) !== undefined
  }
  if (readableFloatOf(base.dtype) === undefined || readableFloatOf(tuned.dtype) === undefined) return false
  return isSameForm(base.shape, tuned.shape) || isSameForm(base.shape.slice(1), tuned.shape.slice(1))
}

/** Reads the entries from `start` on, up to a chunk of them; none of no tensor and past the end. */
function readerOf(tensor: StoredTensor | undefined): (start: number) => Promise<FloatArray> {
  if (tensor === undefined) return async () => new Float32Array(0)
  const count = elementCount(tensor)
  if (isStoredInBytes(tensor)) {
    return (start) => readFloats(tensor, Math.min(start, count), Math.min(start + CHUNK_ENTRIES, count))
  }
  const whole = arrayOf(tensor)
  return async (start) => (await whole)!.subarray(start, start + CHUNK_ENTRIES)
}
