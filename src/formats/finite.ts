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
  const where = [place.file, place.tensor === undefined ? undefined : `tensor ${quoted(place.tensor)}`]
  const prefix = where.filter((part) => part !== undefined).join(': ')
  throw new LoraSvdError(
    'not-finite',
    `${prefix === '' ? '' : `${prefix}: `}NaN or infinite entries: ${count} of ${A.data.length}, the first (${A.data[first]}) at row ${row}, column ${column}; remove or replace them`,
    place,
  )
}
