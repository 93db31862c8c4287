import { type Matrix, matrix } from '../matrix/matrix.ts'
import { mt19937 } from '../random/mt19937.ts'
import { torchNormals } from '../random/torch-normal.ts'
import { type Arithmetic, inArithmetic } from './columns.ts'

/** Draws the next `columns` columns of a stream. */
export type Draw = (columns: number) => Matrix

const HALF_RANGE = 2 ** 31

/**
 * Uniform numbers in [−1, 1): a start block needs only directions that no matrix is aligned with. Streams of
 * different labels are independent of each other, and the same on every platform.
 */
export function uniformColumns(rows: number, arithmetic: Arithmetic, label: string): Draw {
  const nextWord = mt19937(hashOf(label))
  return (columns) => {
    const data = new Float64Array(rows * columns)
    for (let i = 0; i < data.length; i++) data[i] = nextWord() / HALF_RANGE - 1
    return inArithmetic(matrix(rows, columns, data), arithmetic)
  }
}

/** Standard normal numbers, as the statements about probabilities need them. */
export function normalColumns(rows: number, arithmetic: Arithmetic, label: string): Draw {
  const stream = torchNormals(hashOf(label))
  return (columns) => inArithmetic(matrix(rows, columns, stream.normals(rows * columns, 'f64')), arithmetic)
}

/** FNV-1a over the UTF-16 code units. */
function hashOf(label: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < label.length; i++) hash = Math.imul(hash ^ label.charCodeAt(i), 0x01000193)
  return hash >>> 0
}
