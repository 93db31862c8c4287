import type { Matrix } from '../matrix/matrix.ts'
import { type Block, block, type Kernels } from './kernels.ts'

/** Side of the squares that are transposed at a time: both sides stay in the first-level cache. */
const TILE = 16

/** The vectors along the shorter side of A as float64 rows [n, m], n ≤ m: Aᵀ for a tall or square A, A for a wide one. */
export function shortSideRows(kernels: Kernels, { rows, columns, data }: Matrix): Block {
  const copy = kernels.allocate(rows * columns)
  if (rows < columns) {
    copy.set(data)
    return block(copy, rows, columns)
  }
  for (let i0 = 0; i0 < rows; i0 += TILE) {
    const i1 = Math.min(rows, i0 + TILE)
    for (let j0 = 0; j0 < columns; j0 += TILE) {
      const j1 = Math.min(columns, j0 + TILE)
      for (let j = j0; j < j1; j++) for (let i = i0; i < i1; i++) copy[j * rows + i] = data[i * columns + j]
    }
  }
  return block(copy, columns, rows)
}
