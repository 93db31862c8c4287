import { largestAbs } from './arithmetic.ts'
import type { Matrix } from './matrix.ts'

/** 2 to this power is a float64, and so is its reciprocal. */
const LARGEST_EXPONENT = 1000

/** Norms between these have squares, and sums of squares of any number of entries, that stay in range. */
const SQUARABLE = { atLeast: 1e-140, atMost: 1e140 }

/** Whether sums of squares need no scaling for a matrix of this norm. */
export const isSquarable = (norm: number): boolean => norm >= SQUARABLE.atLeast && norm <= SQUARABLE.atMost

/**
 * ‖W − B·A‖_F / ‖W‖_F, the entries of the product formed one row at a time and everything summed in float64, so that it
 * is right down to rounding and needs no memory of W's size. W [d, k], B [d, r], A [r, k]; 0 for W = 0 and B·A = 0.
 */
export function relativeResidual(W: Matrix, B: Matrix, A: Matrix): number {
  const [first, second] = scalesOf(largestAbs(W.data))
  const product = new Float64Array(W.columns)
  let residual = 0
  let total = 0
  for (let i = 0; i < W.rows; i++) {
    multiplyRow(B, i, A, product)
    for (let j = 0, at = i * W.columns; j < W.columns; j++, at++) {
      residual += ((W.data[at] - product[j]) * first * second) ** 2
      total += (W.data[at] * first * second) ** 2
    }
  }
  return total === 0 ? Math.sqrt(residual) : Math.sqrt(residual / total)
}

/**
 * Two powers of two that bring the largest entry near 1, so that no square over- or underflows; of numbers below 2⁻¹⁰²² their
 * product alone would be infinite.
 */
function scalesOf(largest: number): [number, number] {
  if (largest === 0) return [1, 1]
  const exponent = -Math.floor(Math.log2(largest))
  const first = Math.min(exponent, LARGEST_EXPONENT)
  return [2 ** first, 2 ** (exponent - first)]
}

/** Row i of B·A into `out`. */
function multiplyRow(B: Matrix, i: number, A: Matrix, out: Float64Array): void {
  out.fill(0)
  for (let p = 0; p < B.columns; p++) {
    const b = B.data[i * B.columns + p]
    for (let j = 0, at = p * A.columns; j < A.columns; j++, at++) out[j] += b * A.data[at]
  }
}
