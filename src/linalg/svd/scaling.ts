import type { Float64Matrix, FloatArray, Matrix } from '../matrix/matrix.ts'
import { largestAbs } from '../matrix/norms.ts'
import { type Block, type Kernels, rowOf } from './kernels.ts'

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

/** The exponent e that brings `largest` · 2^−e into [0.5, 1); 0 for 0. It must be finite. */
export const unitExponent = (largest: number): number => (largest === 0 ? 0 : binaryExponent(largest))

/** The same of max|aᵢ|, so that no product of two scaled entries overflows. Every entry must be finite. */
export const scalingExponent = (data: FloatArray): number => unitExponent(largestAbs(data))

/** Scales `data` in place so that max|aᵢ| is in [0.5, 1); returns the exponent of the power of two that undoes it. */
export function scaleToOne(data: Float64Array, kernels: Pick<Kernels, 'largestAbs' | 'scale'>): number {
  const exponent = unitExponent(kernels.largestAbs(data))
  for (const factor of powerSteps(-exponent)) kernels.scale(factor, data)
  return exponent
}

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

/** As `fixSigns`, of the transposes: pairs of rows. */
export function fixSignsOfRows(kernels: Kernels, Ut: Block, Vt: Block): void {
  for (let i = 0; i < Ut.rows; i++) {
    const u = rowOf(Ut, i)
    const least = TIE * kernels.largestAbs(u)
    let first = 0
    while (first < u.length - 1 && Math.abs(u[first]) < least) first++
    if (!(u[first] < 0)) continue
    for (const side of [u, rowOf(Vt, i)]) kernels.scale(-1, side)
  }
}

/** Entries this close to the largest count as ties, so that rounding doesn't decide the sign of a vector. */
const TIE = 1 - 1e-10

/**
 * Flips pairs of columns in place so that the largest |entry| of each column of U is positive, the first of
 * ties deciding; U·diag(S)·Vᵀ is unchanged. The u-based rule of scikit-learn's svd_flip. U [m, n], V [k, n].
 */
export function fixSigns(U: Float64Matrix, V: Float64Matrix): void {
  const n = U.columns
  const sign = signsOf(U)
  for (const side of [U, V]) {
    for (let at = 0, i = 0; i < side.rows; i++) {
      for (let j = 0; j < n; j++, at++) if (sign[j] < 0) side.data[at] = -side.data[at]
    }
  }
}

/** By column of U −1 where the largest |entry|, the first of ties, is negative, else 1. */
export function signsOf(U: Matrix): Float64Array {
  const n = U.columns
  const largest = new Float64Array(n)
  for (let at = 0, i = 0; i < U.rows; i++) {
    for (let j = 0; j < n; j++, at++) largest[j] = Math.max(largest[j], Math.abs(U.data[at]))
  }
  const sign = new Float64Array(n)
  for (let at = 0, i = 0; i < U.rows; i++) {
    for (let j = 0; j < n; j++, at++) {
      if (sign[j] === 0 && Math.abs(U.data[at]) >= TIE * largest[j]) sign[j] = U.data[at] < 0 ? -1 : 1
    }
  }
  return sign
}
