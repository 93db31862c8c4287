import type { GramOf, MultiplyOptions } from '../../linalg/engine.ts'
import { type Float64Matrix, type FloatArray, type Matrix, toFloat64 } from '../../linalg/matrix/matrix.ts'
import { checkInner } from '../js/js-engine.ts'
import type { Lapack } from './symbols.ts'

/** Scalars of the products, passed by reference. */
const SCALARS = {
  single: { plus: Float32Array.of(1), zero: Float32Array.of(0) },
  double: { plus: Float64Array.of(1), zero: Float64Array.of(0) },
}

/** What becomes of C in a product, T being op(A)·op(B). */
type Update = 'C = T' | 'C += T'

/** Tile of the mirrored triangle: both sides stay in a 1st-level cache. */
const MIRROR_TILE = 32

/** op(A)·op(B) by sgemm where both are float32, else by dgemm. Throws RangeError when the inner dimensions differ. */
export function multiply(lapack: Lapack, A: Matrix, B: Matrix, options: MultiplyOptions = {}): Matrix {
  const single = A.data instanceof Float32Array && B.data instanceof Float32Array
  const [left, right] = single ? [A, B] : [toFloat64(A), toFloat64(B)]
  const rows = options.transposeA ? A.columns : A.rows
  const columns = options.transposeB ? B.rows : B.columns
  const data: FloatArray = single ? new Float32Array(rows * columns) : new Float64Array(rows * columns)
  const C = { rows, columns, data }
  updateProduct(lapack, 'C = T', C, left, right, options)
  return C
}

/**
 * xGEMM on row-major matrices of one float type. What is row-major X is column-major Xᵀ to the library, so it is asked
 * for Cᵀ = op(B)ᵀ·op(A)ᵀ and nothing is copied. A product without terms is 0. C [m, n].
 */
export function updateProduct(
  lapack: Lapack,
  update: Update,
  C: Matrix,
  A: Matrix,
  B: Matrix,
  { transposeA = false, transposeB = false }: MultiplyOptions = {},
): void {
  const inner = transposeA ? A.rows : A.columns
  checkInner(inner, transposeB ? B.columns : B.rows)
  if (C.data.length === 0 || inner === 0) {
    if (update === 'C = T') C.data.fill(0)
    return
  }
  const single = C.data instanceof Float32Array
  const { plus, zero } = single ? SCALARS.single : SCALARS.double
  lapack.call(
    single ? 'sgemm' : 'dgemm',
    transposeB ? 'T' : 'N',
    transposeA ? 'T' : 'N',
    C.columns,
    C.rows,
    inner,
    plus,
    B.data,
    B.columns,
    A.data,
    A.columns,
    update === 'C = T' ? zero : plus,
    C.data,
    C.columns,
  )
}

/**
 * Aᵀ·A or A·Aᵀ by dsyrk. For Aᵀ·A one panel of rows after the other is widened to float64, for A·Aᵀ the whole. One triangle is
 * computed and mirrored, so that the result is exactly symmetric.
 */
export function gram(lapack: Lapack, A: Matrix, of: GramOf = 'columns'): Float64Matrix {
  const n = of === 'columns' ? A.columns : A.rows
  const data = new Float64Array(n * n)
  const G = { rows: n, columns: n, data }
  if (A.data.length === 0) return G
  const { plus } = SCALARS.double
  if (of === 'rows') {
    const k = A.columns
    lapack.call('dsyrk', 'L', 'T', n, k, plus, toFloat64(A).data, k, plus, data, n)
  } else
    forEachPanel(A, Float64Array, (panel) => {
      lapack.call('dsyrk', 'L', 'N', n, panel.rows, plus, panel.data, n, plus, data, n)
    })
  mirrorUpperTriangle(G)
  return G
}

/** Copies the upper triangle of a row-major matrix, the library's lower one, below the diagonal. */
function mirrorUpperTriangle({ rows: n, data }: Float64Matrix): void {
  for (let i0 = 0; i0 < n; i0 += MIRROR_TILE) {
    for (let j0 = i0; j0 < n; j0 += MIRROR_TILE) {
      const i1 = Math.min(n, i0 + MIRROR_TILE)
      const j1 = Math.min(n, j0 + MIRROR_TILE)
      for (let i = i0; i < i1; i++) {
        for (let j = Math.max(j0, i + 1); j < j1; j++) data[j * n + i] = data[i * n + j]
      }
    }
  }
}

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
