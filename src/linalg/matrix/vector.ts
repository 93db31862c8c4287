import type { FloatArray } from './matrix.ts'

/** Plain sums over vectors of one length, in float64, for steps that are too small for kernels. */

export function dot(x: FloatArray, y: FloatArray): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += x[i] * y[i]
  return sum
}

/** y ← y + factor·x. */
export function add(factor: number, x: Float64Array, y: Float64Array): void {
  for (let i = 0; i < x.length; i++) y[i] += factor * x[i]
}
