import { LoraSvdError } from '../errors.ts'
import type { FloatArray, Matrix } from '../matrix/matrix.ts'
import { type Block, rowOf } from './kernels.ts'

const bits = new DataView(new ArrayBuffer(8))

/** The integer e with |x| = f·2^e and 1/2 ≤ f < 1; 0 for 0. x is finite. */
export function binaryExponent(x: number): number {
  if (x === 0) return 0
  const subnormal = Math.abs(x) < 2 ** -1022
  bits.setFloat64(0, subnormal ? x * 2 ** 54 : x)
  const biased = (bits.getUint16(0) >> 4) & 0x7ff
  return biased - 1022 - (subnormal ? 54 : 0)
}

/** x ← x·2^exponent, exact unless it leaves the range of float64; in two factors, since 2^1074 is not a float64. */
export function scaleByPowerOfTwo(x: Float64Array, exponent: number): void {
  if (exponent === 0) return
  const half = Math.trunc(exponent / 2)
  const first = 2 ** half
  const second = 2 ** (exponent - half)
  for (let i = 0; i < x.length; i++) x[i] = x[i] * first * second
}

/** Scales A by a power of two so that its largest magnitude is in [1/2, 1); the exponent that undoes it. */
export function scaleToOne(A: Block): number {
  let largest = 0
  for (let i = 0; i < A.rows; i++) largest = Math.max(largest, largestMagnitude(rowOf(A, i)))
  const exponent = binaryExponent(largest)
  if (exponent !== 0) for (let i = 0; i < A.rows; i++) scaleByPowerOfTwo(rowOf(A, i), -exponent)
  return exponent
}

/** max |x(i)|, 0 for none. */
export function largestMagnitude(x: FloatArray): number {
  let largest = 0
  for (let i = 0; i < x.length; i++) {
    const size = Math.abs(x[i])
    if (size > largest) largest = size
  }
  return largest
}

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
