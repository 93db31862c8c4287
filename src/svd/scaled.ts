import type { Matrix } from '../matrix/matrix.ts'
import { scaleByPowerOfTwo, scalingExponent } from './power-scale.ts'

/** Entries up to 2^±500 have squares, and sums of any number of them, well inside of what a double holds. */
const ORDINARY = 500

/**
 * A · 2^−exponent with entries so far from the ends of float64 that singular values and their products neither overflow nor
 * become subnormal; A itself, and exponent 0, where that is so already. NaN and infinity stay what they are.
 */
export function awayFromExtremes(A: Matrix): { readonly A: Matrix; readonly exponent: number } {
  const exponent = scalingExponent(A.data)
  if (Math.abs(exponent) <= ORDINARY) return { A, exponent: 0 }
  const data = Float64Array.from(A.data)
  scaleByPowerOfTwo(data, -exponent)
  return { A: { ...A, data }, exponent }
}
