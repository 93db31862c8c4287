import type { ResidentMatrix, Room } from '../engine.ts'
import { type Float64Matrix, floatType, type Matrix, matrix, zeros } from '../matrix/matrix.ts'

/** Bases that grow by blocks of columns. Each column is kept as a row, so that those that are there stay where they are when a block comes. */

/** What is made anew has room for so many times the rows, since each row is copied then. */
const GROWTH = 2

/** Where room is had: what the rows are multiplied beside. */
export type Place = Pick<ResidentMatrix, 'room'>

/** Rows [l, n], with room for more behind them. */
export interface GrowingRows {
  readonly rows: Matrix
  readonly room: Room
}

/** The columns of a block [n, b]. */
export function asRows(place: Place, block: Matrix): GrowingRows {
  const { rows: n, columns: b } = block
  return placed(place.room(floatType(block), GROWTH * b * n), 0, block)
}

/** The rows with the columns of a block [n, b] behind them. What `rows` held is left as it is; it must not get another block. */
export function withColumns(place: Place, { rows, room }: GrowingRows, block: Matrix): GrowingRows {
  const needed = rows.data.length + block.data.length
  if (needed <= room.length) return placed(room, rows.rows, block)
  const larger = place.room(floatType(block), GROWTH * needed)
  larger.first(rows.data.length).set(rows.data)
  return placed(larger, rows.rows, block)
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

/** The room's first rows, with the columns of a block behind them. */
function placed(room: Room, count: number, { rows: n, columns, data }: Matrix): GrowingRows {
  const l = count + columns
  const rows = matrix(l, n, room.first(l * n))
  for (let j = 0; j < columns; j++) {
    const to = (count + j) * n
    for (let i = 0, at = j; i < n; i++, at += columns) rows.data[to + i] = data[at]
  }
  return { rows, room }
}
