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
  let largest = 0
  for (let i = 0; i < data.length; i++) largest = Math.max(largest, Math.abs(data[i]))
  return largest
}

/** The index of the first entry that is NaN or infinite, or −1. */
export function firstNonFinite(data: FloatArray): number {
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
