import { copyColumns } from './copy-columns.ts'

/** A dense matrix of floats, row-major: entry (i, j) is `data[i * columns + j]`. */
export interface Matrix<T extends FloatArray = FloatArray> {
  readonly rows: number
  readonly columns: number
  readonly data: T
}

/** A matrix stored in half precision, row-major, as its bits: each entry is widened where it is used. */
export interface HalfMatrix {
  readonly rows: number
  readonly columns: number
  readonly dtype: 'bf16' | 'f16'
  readonly data: Uint16Array
}

export type FloatArray = Float32Array | Float64Array
export type Float64Matrix = Matrix<Float64Array>
/** The float types by their short names. */
export type FloatType = 'f32' | 'f64'

export const floatType = (A: Matrix): FloatType => (A.data instanceof Float32Array ? 'f32' : 'f64')

/** Wraps row-major `data` as a `rows` × `columns` matrix without copying. Throws RangeError when the length differs. */
export function matrix<T extends FloatArray>(rows: number, columns: number, data: T): Matrix<T> {
  if (data.length !== rows * columns) {
    throw new RangeError(`a ${rows}×${columns} matrix needs ${rows * columns} numbers, got ${data.length}`)
  }
  return { rows, columns, data }
}

/** A `rows` × `columns` float64 matrix of zeros. */
export function zeros(rows: number, columns: number): Float64Matrix {
  return { rows, columns, data: new Float64Array(rows * columns) }
}

/** The `n` × `n` float64 identity. */
export function identity(n: number): Float64Matrix {
  const I = zeros(n, n)
  for (let i = 0; i < n; i++) I.data[i * n + i] = 1
  return I
}

/** Copies a matrix given as an array of rows into float64 storage. Throws RangeError on ragged rows. */
export function fromRows(rows: readonly (readonly number[])[]): Float64Matrix {
  const columns = rows[0]?.length ?? 0
  const A = zeros(rows.length, columns)
  rows.forEach((row, i) => {
    if (row.length !== columns)
      throw new RangeError(`row ${i} has ${row.length} numbers, row 0 has ${columns}`)
    A.data.set(row, i * columns)
  })
  return A
}

/** The matrix as an array of rows, for printing and JSON. */
export function toRows(A: Matrix): number[][] {
  return Array.from({ length: A.rows }, (_, i) =>
    Array.from(A.data.subarray(i * A.columns, (i + 1) * A.columns)),
  )
}

/** Aᵀ as a new matrix of the same type, which may be the bits of 16-bit floats, copied in square tiles so that both sides stay in cache. */
export function transpose<T extends FloatArray | Uint16Array>(A: {
  readonly rows: number
  readonly columns: number
  readonly data: T
}): { readonly rows: number; readonly columns: number; readonly data: T } {
  const { rows, columns, data } = A
  const out = new (data.constructor as new (n: number) => T)(data.length)
  const tile = 32
  for (let i0 = 0; i0 < rows; i0 += tile) {
    const i1 = Math.min(rows, i0 + tile)
    for (let j0 = 0; j0 < columns; j0 += tile) {
      const j1 = Math.min(columns, j0 + tile)
      for (let i = i0; i < i1; i++) for (let j = j0; j < j1; j++) out[j * rows + i] = data[i * columns + j]
    }
  }
  return { rows: columns, columns: rows, data: out }
}

/** The first `count` columns of A as a new matrix of the same float type. */
export function leadingColumns<T extends FloatArray>(A: Matrix<T>, count: number): Matrix<T> {
  if (count === A.columns) return { ...A, data: A.data.slice() as T }
  const data = new (A.data.constructor as new (n: number) => T)(A.rows * count)
  const own = { data: A.data, stride: A.columns, first: 0 }
  copyColumns(own, { data, stride: count, first: 0 }, A.rows, count)
  return { rows: A.rows, columns: count, data }
}

/** The leading columns of X in float64, as many as there are factors, each times its own. */
export function scaledColumns({ rows, columns, data }: Matrix, factors: Float64Array): Float64Matrix {
  const count = factors.length
  const scaled = new Float64Array(rows * count)
  for (let at = 0, i = 0; i < rows; i++) {
    for (let j = 0, from = i * columns; j < count; j++, from++, at++) scaled[at] = data[from] * factors[j]
  }
  return { rows, columns: count, data: scaled }
}

/** Rows `from` to `to` of A, sharing its storage. */
export function rowRange<T extends FloatArray>(A: Matrix<T>, from: number, to: number): Matrix<T> {
  return matrix(to - from, A.columns, A.data.subarray(from * A.columns, to * A.columns) as T)
}

/** A with its entries as float64; A itself when they already are. */
export function toFloat64(A: Matrix): Float64Matrix {
  return A.data instanceof Float64Array
    ? (A as Float64Matrix)
    : { rows: A.rows, columns: A.columns, data: new Float64Array(A.data) }
}

/** A with its entries rounded to float32; A itself when they already are. */
export function toFloat32(A: Matrix): Matrix<Float32Array> {
  return A.data instanceof Float32Array
    ? (A as Matrix<Float32Array>)
    : { rows: A.rows, columns: A.columns, data: new Float32Array(A.data) }
}

/** The difference between 1 and the next number of the float type: NumPy's finfo(dtype).eps. */
export const epsilonOf = { f64: 2 ** -52, f32: 2 ** -23 } as const
