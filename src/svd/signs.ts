import type { Svd } from '../engine/engine.ts'
import type { Float64Matrix } from '../matrix/matrix.ts'

/** Magnitudes this near the largest count as ties, so that rounding does not choose between them. */
const TIE = 1 - 1e-10

/**
 * Turns each pair of singular vectors so that the largest entry of the left one, the first of near ties, is positive
 * (the u-based rule of scikit-learn's svd_flip). In place.
 */
export function fixSigns({ U, V }: Svd): void {
  const { rows, columns, data } = U
  const largest = new Float64Array(columns)
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const size = Math.abs(data[i * columns + j])
      if (size > largest[j]) largest[j] = size
    }
  }
  // 0 until the deciding entry of the column has been met.
  const sign = new Float64Array(columns)
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const entry = data[i * columns + j]
      if (sign[j] === 0 && Math.abs(entry) >= TIE * largest[j]) sign[j] = entry < 0 ? -1 : 1
    }
  }
  multiplyColumns(U, sign)
  multiplyColumns(V, sign)
}

function multiplyColumns({ rows, columns, data }: Float64Matrix, sign: Float64Array): void {
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) data[i * columns + j] *= sign[j]
}
