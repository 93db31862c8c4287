import { copyColumns } from '../matrix/copy-columns.ts'
import {
  type Float64Matrix,
  type FloatArray,
  type FloatType,
  floatType,
  type Matrix,
  matrix,
  toFloat32,
  toFloat64,
} from '../matrix/matrix.ts'

/** Matrices taken apart and put together by columns. */

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
  placeColumns(data, columns, 0, A)
  placeColumns(data, columns, A.columns, inArithmetic(B, floatType(A)))
  return matrix(A.rows, columns, data)
}

/** [A₁, A₂, …] in float64, of matrices of so many rows. Row by row: each is written in one go, and read from all at once. */
export function sideBySide(rows: number, all: readonly Matrix[]): Float64Matrix {
  const columns = all.reduce((sum, A) => sum + A.columns, 0)
  const data = new Float64Array(rows * columns)
  for (let at = 0, i = 0; i < rows; i++) {
    for (const { columns: own, data: source } of all) {
      for (let j = 0, from = i * own; j < own; j++, from++, at++) data[at] = source[from]
    }
  }
  return matrix(rows, columns, data)
}

/** [A₁; A₂; …] in float64, of matrices of so many columns. */
export function oneBelowTheOther(columns: number, all: readonly Matrix[]): Float64Matrix {
  const rows = all.reduce((sum, A) => sum + A.rows, 0)
  const data = new Float64Array(rows * columns)
  let at = 0
  for (const { data: own } of all) {
    data.set(own, at)
    at += own.length
  }
  return matrix(rows, columns, data)
}

/** Copies A into rows of `stride` entries, from column `first` on. */
function placeColumns(target: FloatArray, stride: number, first: number, A: Matrix): void {
  const own = { data: A.data, stride: A.columns, first: 0 }
  copyColumns(own, { data: target, stride, first }, A.rows, A.columns)
}

/** Columns `from` to `to` of A. */
export function columnRange(A: Matrix, from: number, to: number): Matrix {
  const columns = to - from
  const data = like(A, A.rows * columns)
  const own = { data: A.data, stride: A.columns, first: from }
  copyColumns(own, { data, stride: columns, first: 0 }, A.rows, columns)
  return matrix(A.rows, columns, data)
}

/** The last `count` columns of A, last first: eigenvectors, which come with ascending values, from the largest on. */
export function lastColumnsFirst({ rows, columns, data }: Float64Matrix, count: number): Float64Matrix {
  const reversed = new Float64Array(rows * count)
  for (let at = 0, i = 1; i <= rows; i++) {
    for (let j = 1; j <= count; j++, at++) reversed[at] = data[i * columns - j]
  }
  return matrix(rows, count, reversed)
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
  const [minuend, subtrahend] = [A.data, B.data]
  const data = like(A, minuend.length)
  for (let i = 0; i < data.length; i++) data[i] = minuend[i] - subtrahend[i]
  return matrix(A.rows, A.columns, data)
}

/** The squared length of each column, summed in float64. */
export function columnSquares(A: Matrix): Float64Array {
  const { rows, columns, data } = A
  const squares = new Float64Array(columns)
  for (let at = 0, i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++, at++) squares[j] += data[at] * data[at]
  }
  return squares
}

/** Multiplies column j by `factors[j]`, in place. */
export function scaleColumns(A: Matrix, factors: Float64Array): void {
  for (let at = 0, i = 0; i < A.rows; i++) {
    for (let j = 0; j < A.columns; j++, at++) A.data[at] *= factors[j]
  }
}
