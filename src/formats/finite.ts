import { type ErrorPlace, LoraSvdError } from '../errors.ts'
import { firstNonFinite } from '../matrix/arithmetic.ts'
import type { Matrix } from '../matrix/matrix.ts'
import { quoted } from './quote.ts'

/**
 * Throws LoraSvdError `not-finite` when the matrix holds NaN or infinity: no decomposition of it means anything. Names
 * the first one by row and column, counted from 1, and says how many there are.
 */
export function assertFinite(A: Matrix, place: ErrorPlace): void {
  const first = firstNonFinite(A.data)
  if (first < 0) return
  let count = 0
  for (let i = first; i < A.data.length; i++) if (!Number.isFinite(A.data[i])) count++
  const [row, column] = [Math.floor(first / A.columns) + 1, (first % A.columns) + 1]
  throw new LoraSvdError(
    'not-finite',
    `${prefixOf(place)}NaN or infinite entries: ${count} of ${A.data.length}, the first (${A.data[first]}) at row ${row}, column ${column}; remove or replace them`,
    place,
  )
}

/**
 * Throws LoraSvdError `not-finite` where one of the figures that follow from finite entries, such as singular values and norms,
 * isn't finite: nothing that is made of them means anything.
 */
export function assertInRange(figures: readonly (ArrayLike<number> | undefined)[], place: ErrorPlace): void {
  for (const numbers of figures) {
    for (let i = 0; i < (numbers?.length ?? 0); i++) {
      if (Number.isFinite(numbers![i])) continue
      throw new LoraSvdError(
        'not-finite',
        `${prefixOf(place)}its entries are finite, but its singular values or norms pass 1.8e308, the largest float64; divide it by a power of ten first`,
        place,
      )
    }
  }
}

/** The place as messages begin with it. */
function prefixOf({ file, tensor }: ErrorPlace): string {
  const where = [file, tensor === undefined ? undefined : `tensor ${quoted(tensor)}`]
  return where.map((part) => (part === undefined ? '' : `${part}: `)).join('')
}
