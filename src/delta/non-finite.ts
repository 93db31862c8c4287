import { elementCount, forEachChunk } from '../checkpoint/read.ts'
import type { StoredTensor } from '../checkpoint/types.ts'
import { LoraSvdError } from '../errors.ts'
import type { NonFiniteEntries } from '../linalg/matrix/finite.ts'
import type { FloatArray } from '../linalg/matrix/matrix.ts'
import { firstNonFinite } from '../linalg/matrix/norms.ts'
import { quoted } from '../text/quote.ts'

/** Throws LoraSvdError `not-finite` where a matrix of the checkpoint at `path` has NaN or infinite entries. */
export function refuseNonFinite(path: string, name: string, found: NonFiniteEntries | undefined): void {
  if (found === undefined) return
  const { count, first } = found
  const others = count === 1 ? '' : `, the first of ${count}`
  throw notFinite(path, name, `${first.value} at row ${first.row + 1}, column ${first.column + 1}${others}`)
}

/** The same of a tensor that is stored whole, whatever its shape. */
export function refuseNonFiniteNumbers(path: string, name: string, numbers: FloatArray): void {
  const at = firstNonFinite(numbers)
  if (at >= 0) throw notFinite(path, name, `${numbers[at]} at place ${at + 1} of ${numbers.length}`)
}

/** The same of a tensor as it is stored, of any size; one that isn't of numbers passes. */
export async function refuseNonFiniteTensor(path: string, tensor: StoredTensor | undefined): Promise<void> {
  if (tensor === undefined) return
  const count = elementCount(tensor)
  await forEachChunk(tensor, (numbers, start) => {
    const at = firstNonFinite(numbers)
    if (at >= 0) throw notFinite(path, tensor.name, `${numbers[at]} at place ${start + at + 1} of ${count}`)
  })
}

function notFinite(path: string, name: string, entry: string): LoraSvdError {
  return new LoraSvdError(
    'not-finite',
    `${path}: tensor ${quoted(name)} has the entry ${entry}; mend the checkpoint, or leave the tensor out with --exclude`,
    { file: path, tensor: name },
  )
}
