import type { Matrix } from './matrix.ts'

/** Squares of entries, or variances of them, summed over each row and each column. */
export interface SquareSums {
  readonly byRow: Float64Array
  readonly byColumn: Float64Array
}

/** What each row and each column of A holds of ‖A‖_F². */
export function squareSums({ rows, columns, data }: Matrix): SquareSums {
  const [byRow, byColumn] = [new Float64Array(rows), new Float64Array(columns)]
  for (let i = 0; i < rows; i++) {
    const row = data.subarray(i * columns, (i + 1) * columns)
    let sum = 0
    for (let j = 0; j < columns; j++) {
      const square = row[j] * row[j]
      sum += square
      byColumn[j] += square
    }
    byRow[i] = sum
  }
  return { byRow, byColumn }
}
