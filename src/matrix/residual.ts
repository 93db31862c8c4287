import { largestAbs } from './arithmetic.ts'
import type { Matrix } from './matrix.ts'

/**
 * ‖W − B·A‖_F / ‖W‖_F, the entries of the product formed one row at a time and everything summed in float64, so that it
 * is right down to rounding and needs no memory of W's size. W [d, k], B [d, r], A [r, k]; 0 for W = 0 and B·A = 0.
 */
export function relativeResidual(W: Matrix, B: Matrix, A: Matrix): number {
  const largest = largestAbs(W.data)
  // Entries are divided by a power of two near the largest, so that no square over- or underflows.
  const scale = largest === 0 ? 1 : 2 ** -Math.floor(Math.log2(largest))
  const product = new Float64Array(W.columns)
  let residual = 0
  let total = 0
  for (let i = 0; i < W.rows; i++) {
    multiplyRow(B, i, A, product)
    for (let j = 0, at = i * W.columns; j < W.columns; j++, at++) {
      residual += ((W.data[at] - product[j]) * scale) ** 2
      total += (W.data[at] * scale) ** 2
    }
  }
  return total === 0 ? Math.sqrt(residual) : Math.sqrt(residual / total)
}

/** Row i of B·A into `out`. */
function multiplyRow(B: Matrix, i: number, A: Matrix, out: Float64Array): void {
  out.fill(0)
  for (let p = 0; p < B.columns; p++) {
    const b = B.data[i * B.columns + p]
    for (let j = 0, at = p * A.columns; j < A.columns; j++, at++) out[j] += b * A.data[at]
  }
}
