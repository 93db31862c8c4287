import type { FloatArray, Matrix } from './matrix.ts'

/** A + factor·B, entry by entry, rounded once. Float32 only where both are. Throws RangeError when shapes differ. */
export function addMultiple(A: Matrix, B: Matrix, factor: number): Matrix {
  if (A.rows !== B.rows || A.columns !== B.columns) {
    throw new RangeError(`cannot add ${shape(A)} and ${shape(B)}`)
  }
  const data = resultData(A, B, A.data.length)
  for (let i = 0; i < data.length; i++) data[i] = A.data[i] + factor * B.data[i]
  return { rows: A.rows, columns: A.columns, data }
}

/** max|aᵢ|, NaN where an entry is NaN, 0 for no entries. */
export function largestAbs(data: FloatArray): number {
  // two strands, so that neither waits for the one before
  let [even, odd] = [0, 0]
  const whole = data.length - (data.length % 2)
  for (let i = 0; i < whole; i += 2) {
    even = Math.max(even, Math.abs(data[i]))
    odd = Math.max(odd, Math.abs(data[i + 1]))
  }
  return Math.max(even, odd, whole < data.length ? Math.abs(data[whole]) : 0)
}

/** Whether no entry is NaN or infinite. Four sums at a time, so that none waits for the one before. */
export function isAllFinite(data: FloatArray): boolean {
  let [a, b, c, d] = [0, 0, 0, 0]
  const whole = data.length - (data.length % 4)
  for (let i = 0; i < whole; i += 4) {
    // x − x is 0 for finite x only
    a += data[i] - data[i]
    b += data[i + 1] - data[i + 1]
    c += data[i + 2] - data[i + 2]
    d += data[i + 3] - data[i + 3]
  }
  for (let i = whole; i < data.length; i++) a += data[i] - data[i]
  return a + b + c + d === 0
}

/** The index of the first entry that is NaN or infinite, or −1. */
export function firstNonFinite(data: FloatArray): number {
  if (isAllFinite(data)) return -1
  // x − x is 0 for finite x only.
  for (let i = 0; i < data.length; i++) if (data[i] - data[i] !== 0) return i
  return -1
}

/** The length of the vector of entries, ‖A‖_F, without overflow or underflow on the way. */
export function frobeniusNorm(data: FloatArray): number {
  const largest = largestAbs(data)
  if (largest === 0 || !Number.isFinite(largest)) return largest
  let sum = 0
  for (let i = 0; i < data.length; i++) sum += (data[i] / largest) ** 2
  return largest * Math.sqrt(sum)
}

/** √(Σ parts² / Σ wholes²) of numbers of any size; 0 where all parts are 0. */
export function ratioOfNorms(parts: readonly number[], wholes: readonly number[]): number {
  const ofParts = largestAbs(Float64Array.from(parts))
  const scale = Math.max(ofParts, largestAbs(Float64Array.from(wholes)))
  if (ofParts === 0) return 0
  if (!Number.isFinite(scale)) return ofParts / scale === 0 ? 0 : ofParts
  const norm = (numbers: readonly number[]) => frobeniusNorm(Float64Array.from(numbers, (x) => x / scale))
  return norm(parts) / norm(wholes)
}

function resultData(A: Matrix, B: Matrix, length: number): FloatArray {
  const isFloat32 = A.data instanceof Float32Array && B.data instanceof Float32Array
  return isFloat32 ? new Float32Array(length) : new Float64Array(length)
}

const shape = (A: Matrix) => `${A.rows}×${A.columns}`

/** Squares of entries, or variances of them, summed over each row and each column. */
export interface SquareSums {
  readonly byRow: Float64Array
  readonly byColumn: Float64Array
}

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
