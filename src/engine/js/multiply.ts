import { type Float64Matrix, type FloatArray, type Matrix, transpose } from '../../matrix/matrix.ts'
import type { MultiplyOptions } from '../engine.ts'

/**
 * op(A)·op(B) by plain loops with float64 sums, each over the inner index in order; rounded once to float32
 * when both are float32. Throws RangeError when the inner dimensions differ.
 */
export function multiply(A: Matrix, B: Matrix, options: MultiplyOptions = {}): Matrix {
  const left = options.transposeA ? transpose(A) : A
  const right = options.transposeB ? transpose(B) : B
  checkInner(left.columns, right.rows)
  const { rows, columns: inner } = left
  const columns = right.columns
  const single = A.data instanceof Float32Array && B.data instanceof Float32Array
  const data: FloatArray = single ? new Float32Array(rows * columns) : new Float64Array(rows * columns)
  const sums = new Float64Array(columns)
  for (let i = 0; i < rows; i++) {
    sums.fill(0)
    for (let k = 0; k < inner; k++) {
      const a = left.data[i * inner + k]
      const row = k * columns
      for (let j = 0; j < columns; j++) sums[j] += a * right.data[row + j]
    }
    data.set(sums, i * columns)
  }
  return { rows, columns, data }
}

/** Aᵀ·A in float64. The same products in the same order for (i, j) and (j, i), so exactly symmetric. */
export function gram(A: Matrix): Float64Matrix {
  const n = A.columns
  const data = new Float64Array(n * n)
  for (let k = 0; k < A.rows; k++) {
    const row = A.data.subarray(k * n, (k + 1) * n)
    for (let i = 0; i < n; i++) {
      const a = row[i]
      for (let j = 0; j < n; j++) data[i * n + j] += a * row[j]
    }
  }
  return { rows: n, columns: n, data }
}

/** Throws RangeError when a product's inner dimensions differ. */
export function checkInner(left: number, right: number): void {
  if (left !== right)
    throw new RangeError(`can't multiply: ${left} columns on the left, ${right} rows on the right`)
}
