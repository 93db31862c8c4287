import type { FloatArray, Matrix } from '../../matrix/matrix.ts'

/** Room for a panel of rows, in bytes: it stays in a 2nd- or 3rd-level cache between two uses. */
const PANEL_BYTES = 2 ** 21
/** Fewer rows would make the products too thin for the library's kernels. */
const LEAST_PANEL_ROWS = 64

/** The type of a float array, as what makes one. */
export type FloatType = Float32ArrayConstructor | Float64ArrayConstructor

export const floatTypeOf = (data: FloatArray): FloatType =>
  data instanceof Float32Array ? Float32Array : Float64Array

/** How many rows of A, in entries of `type`, make a panel. */
export function panelRows(A: Matrix, type: FloatType): number {
  return Math.max(LEAST_PANEL_ROWS, Math.floor(PANEL_BYTES / (type.BYTES_PER_ELEMENT * A.columns)))
}

/**
 * Calls `use` with one panel of rows of A after the other, in entries of `type`, and the index of the panel's first
 * row. A panel is a view of A where the types agree, else a copy that the next one overwrites.
 */
export function forEachPanel(
  A: Matrix,
  type: FloatType,
  use: (panel: Matrix, firstRow: number) => void,
): void {
  const { rows, columns, data } = A
  const step = panelRows(A, type)
  const room = floatTypeOf(data) === type ? null : new type(Math.min(step, rows) * columns)
  for (let first = 0; first < rows; first += step) {
    const last = Math.min(rows, first + step)
    const view = data.subarray(first * columns, last * columns)
    room?.set(view)
    use({ rows: last - first, columns, data: room === null ? view : room.subarray(0, view.length) }, first)
  }
}
