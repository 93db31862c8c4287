/** Matrices taken apart and put together by columns. */
import {
  type FloatArray,
  type FloatType,
  type Matrix,
  matrix,
  toFloat32,
  toFloat64,
} from '../matrix/matrix.ts'

/** The float type that sums and products are formed in. */
export type Arithmetic = FloatType

/** A in the given float type; A itself when it is in it already. */
export function inArithmetic(A: Matrix, arithmetic: Arithmetic): Matrix {
  return arithmetic === 'f32' ? toFloat32(A) : toFloat64(A)
}

function like(A: Matrix, length: number): FloatArray {
  return A.data instanceof Float32Array ? new Float32Array(length) : new Float64Array(length)
}

/** [A, B], in the float type of A. */
export function besideColumns(A: Matrix, B: Matrix): Matrix {
  const columns = A.columns + B.columns
  const data = like(A, A.rows * columns)
  for (let i = 0; i < A.rows; i++) {
    data.set(A.data.subarray(i * A.columns, (i + 1) * A.columns), i * columns)
    data.set(B.data.subarray(i * B.columns, (i + 1) * B.columns), i * columns + A.columns)
  }
  return matrix(A.rows, columns, data)
}

/** Columns `from` to `to` of A. */
export function columnRange(A: Matrix, from: number, to: number): Matrix {
  const columns = to - from
  const data = like(A, A.rows * columns)
  for (let i = 0; i < A.rows; i++) {
    data.set(A.data.subarray(i * A.columns + from, i * A.columns + to), i * columns)
  }
  return matrix(A.rows, columns, data)
}

/** The columns of A at the given places. */
export function columnsAt(A: Matrix, places: readonly number[]): Matrix {
  const data = like(A, A.rows * places.length)
  for (let at = 0, i = 0; i < A.rows; i++) {
    for (const j of places) data[at++] = A.data[i * A.columns + j]
  }
  return matrix(A.rows, places.length, data)
}

/** A − B, in the float type of A. */
export function difference(A: Matrix, B: Matrix): Matrix {
  const data = like(A, A.data.length)
  for (let i = 0; i < data.length; i++) data[i] = A.data[i] - B.data[i]
  return matrix(A.rows, A.columns, data)
}

/** The squared length of each column, summed in float64. */
export function columnSquares(A: Matrix): Float64Array {
  const squares = new Float64Array(A.columns)
  for (let at = 0, i = 0; i < A.rows; i++) {
    for (let j = 0; j < A.columns; j++, at++) squares[j] += A.data[at] * A.data[at]
  }
  return squares
}

/** Multiplies column j by `factors[j]`, in place. */
export function scaleColumns(A: Matrix, factors: Float64Array): void {
  for (let at = 0, i = 0; i < A.rows; i++) {
    for (let j = 0; j < A.columns; j++, at++) A.data[at] *= factors[j]
  }
}
