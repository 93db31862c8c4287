import { LoraSvdError } from '../errors.ts'
import { firstNonFinite } from '../matrix/arithmetic.ts'
import type { Matrix } from '../matrix/matrix.ts'

/** Throws LoraSvdError 'not-finite' naming the first entry that is NaN or infinite. */
export function requireFinite(A: Matrix): void {
  const at = firstNonFinite(A.data)
  if (at < 0) return
  const row = Math.floor(at / A.columns)
  throw new LoraSvdError(
    'not-finite',
    `the ${A.rows}×${A.columns} matrix holds ${A.data[at]} at row ${row}, column ${at % A.columns}; remove or replace what is not finite`,
  )
}
