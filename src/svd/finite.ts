import { LoraSvdError } from '../errors.ts'
import type { Matrix } from '../matrix/matrix.ts'

/** Throws LoraSvdError 'not-finite' naming the first entry that is NaN or infinite. */
export function requireFinite(A: Matrix): void {
  for (let i = 0; i < A.data.length; i++) {
    // x − x is 0 for finite x only.
    if (A.data[i] - A.data[i] !== 0) {
      const row = Math.floor(i / A.columns)
      throw new LoraSvdError(
        'not-finite',
        `the ${A.rows}×${A.columns} matrix holds ${A.data[i]} at row ${row}, column ${i % A.columns}; remove or replace what is not finite`,
      )
    }
  }
}
