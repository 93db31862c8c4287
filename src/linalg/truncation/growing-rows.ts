import type { Float64Matrix, FloatArray, Matrix } from '../matrix/matrix.ts'
import { matrix, zeros } from '../matrix/matrix.ts'

/** Bases that grow by blocks of columns. Each column is kept as a row, so that those that are there stay where they are when a block comes. */

/** What is made anew has room for so many times the rows, since each row is copied then. */
const GROWTH = 2

/** Rows [l, n], with room for more behind them. */
export interface GrowingRows {
  readonly rows: Matrix
  readonly room: FloatArray
}

/** The columns of a block [n, b], in room for twice as many. */
export const asRows = (block: Matrix): GrowingRows => withColumns(emptyRows(block), block)

/** The rows with the columns of a block [n, b] behind them. What `rows` held is left as it is; it must not get another block. */
export function withColumns({ rows, room }: GrowingRows, block: Matrix): GrowingRows {
  const { rows: n, columns: b } = block
  const l = rows.rows + b
  const enough = l * n <= room.length ? room : roomFor(block, GROWTH * l)
  if (enough !== room) enough.set(rows.data)
  placeTransposed(enough, rows.data.length, block)
  return { rows: matrix(l, n, enough.subarray(0, l * n)), room: enough }
}

/** The Gram matrix of rows with those of a block behind them: `gram` bordered by `beside` [l, b] and `own` [b, b]. */
export function bordered(gram: Float64Matrix, beside: Matrix, own: Float64Matrix): Float64Matrix {
  const [l, b] = [gram.rows, own.rows]
  const n = l + b
  const G = zeros(n, n)
  for (let i = 0; i < l; i++) {
    G.data.set(gram.data.subarray(i * l, (i + 1) * l), i * n)
    for (let j = 0; j < b; j++) {
      const x = beside.data[i * b + j]
      G.data[i * n + l + j] = x
      G.data[(l + j) * n + i] = x
    }
  }
  for (let i = 0; i < b; i++) G.data.set(own.data.subarray(i * b, (i + 1) * b), (l + i) * n + l)
  return G
}

const emptyRows = (block: Matrix): GrowingRows => {
  const room = roomFor(block, 0)
  return { rows: matrix(0, block.rows, room), room }
}

const roomFor = ({ rows: n, data }: Matrix, count: number): FloatArray =>
  data instanceof Float32Array ? new Float32Array(count * n) : new Float64Array(count * n)

/** Writes the columns one after the other from `start` on: a few at a time, so that what is read of a row is in the cache. */
function placeTransposed(target: FloatArray, start: number, { rows, columns, data }: Matrix): void {
  for (let j = 0; j < columns; j++) {
    const to = start + j * rows
    for (let i = 0, at = j; i < rows; i++, at += columns) target[to + i] = data[at]
  }
}
