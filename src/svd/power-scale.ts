import { largestAbs } from '../matrix/arithmetic.ts'
import type { FloatArray } from '../matrix/matrix.ts'

const EXPONENT_BIAS = 1023
/** A double holds 2^e for e in [−1074, 1023]; steps of at most this size never leave that range on the way. */
const LARGEST_STEP = 1000

/** The exponent e with 2^(e−1) ≤ x < 2^e, for finite x > 0, subnormal numbers included (C's frexp). */
export function binaryExponent(x: number): number {
  const subnormalShift = 54
  const isSubnormal = x < 2 ** -1022
  const view = new DataView(new ArrayBuffer(8))
  view.setFloat64(0, isSubnormal ? x * 2 ** subnormalShift : x)
  const biased = (view.getUint32(0) >>> 20) & 0x7ff
  return biased - EXPONENT_BIAS + 1 - (isSubnormal ? subnormalShift : 0)
}

/** x · 2^e, exact unless the result is subnormal or too large (C's ldexp). */
export function timesPowerOfTwo(x: number, e: number): number {
  return powerSteps(e).reduce((result, factor) => result * factor, x)
}

/** Multiplies every entry by 2^e in place, exact unless a result is subnormal or too large. */
export function scaleByPowerOfTwo(data: FloatArray, e: number): void {
  for (const factor of powerSteps(e)) for (let i = 0; i < data.length; i++) data[i] *= factor
}

/** Powers of two, each a normal double, whose product is 2^e; none for e = 0. */
function powerSteps(e: number): number[] {
  const steps: number[] = []
  for (let left = e; left !== 0; ) {
    const step = Math.max(-LARGEST_STEP, Math.min(LARGEST_STEP, left))
    steps.push(2 ** step)
    left -= step
  }
  return steps
}

/**
 * The exponent e that brings max|aᵢ| · 2^−e into [0.5, 1), so that no product of two scaled entries overflows;
 * 0 for data that are all zero. Every entry must be finite.
 */
export function scalingExponent(data: FloatArray): number {
  const largest = largestAbs(data)
  return largest === 0 ? 0 : binaryExponent(largest)
}

/** Scales `data` in place so that max|aᵢ| is in [0.5, 1); returns the exponent of the power of two that undoes it. */
export function scaleToOne(data: Float64Array): number {
  const exponent = scalingExponent(data)
  scaleByPowerOfTwo(data, -exponent)
  return exponent
}
