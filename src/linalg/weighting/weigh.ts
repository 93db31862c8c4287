import type { Engine } from '../engine.ts'
import {
  type Float64Matrix,
  type FloatArray,
  type Matrix,
  matrix,
  toFloat64,
  zeros,
} from '../matrix/matrix.ts'
import { part } from '../svd/cholesky.ts'
import type { Root } from './root.ts'

/** Columns of a product with a triangle that are formed at once: what is below its diagonal is left out. */
const PANEL = 512
/** Up to so many entries the product stays in float64 whatever the matrix is stored in: it costs nothing there. */
const KEPT_WIDE = 2 ** 18

/** X·R in float64. X [m, k]. */
export function timesRoot(engine: Pick<Engine, 'multiply'>, X: Matrix, root: Root): Matrix {
  const { rows, columns: k } = X
  if (root.kind === 'unit') return X
  if (root.kind === 'diagonal') {
    const { scale } = root
    return matrix(rows, k, scaledColumns(new Float64Array(X.data.length), X.data, scale))
  }
  if (root.kind === 'eigen') return toFloat64(engine.multiply(X, root.R))
  const product = zeros(rows, k)
  eachPanel(engine, X, root.Lt, (panel, first) => {
    const { columns } = panel
    for (let i = 0; i < rows; i++) {
      product.data.set(panel.data.subarray(i * columns, (i + 1) * columns), i * k + first)
    }
  })
  return product
}

/**
 * Δ·R, formed in float64 and rounded once to Δ's own float type where it is large: what is decomposed in place of Δ. Δ itself where
 * C = I, number for number.
 */
export function weighed(engine: Pick<Engine, 'multiply'>, delta: Matrix, root: Root): Matrix {
  if (root.kind === 'unit') return delta
  const { rows, columns: k, data } = delta
  const isWide = data instanceof Float64Array || rows * k <= KEPT_WIDE
  if (isWide) return timesRoot(engine, delta, root)
  const product = matrix(rows, k, new Float32Array(rows * k))
  if (root.kind === 'diagonal') {
    const { scale } = root
    for (let i = 0, at = 0; i < rows; i++)
      for (let j = 0; j < k; j++, at++) product.data[at] = data[at] * scale[j]
  } else if (root.kind === 'eigen') {
    const wide = engine.multiply(delta, root.R)
    product.data.set(wide.data)
  } else {
    eachPanel(engine, delta, root.Lt, (panel, first) => {
      const { columns } = panel
      for (let i = 0; i < rows; i++) {
        product.data.set(panel.data.subarray(i * columns, (i + 1) * columns), i * k + first)
      }
    })
  }
  return product
}

/** Each entry times the scale of its column, into `out`. */
function scaledColumns<T extends FloatArray>(out: T, data: FloatArray, scale: Float64Array): T {
  const k = scale.length
  for (let first = 0; first < data.length; first += k) {
    for (let j = 0; j < k; j++) out[first + j] = data[first + j] * scale[j]
  }
  return out
}

/** X·L, some columns at a time, each with the index of the first: columns j of L begin at row j. */
function eachPanel(
  engine: Pick<Engine, 'multiply'>,
  X: Matrix,
  Lt: Float64Matrix,
  use: (panel: Float64Matrix, first: number) => void,
): void {
  const k = X.columns
  for (let first = 0; first < k; first += PANEL) {
    const count = Math.min(PANEL, k - first)
    const right = part(Lt, first, first, count, k - first)
    const left = first === 0 ? X : trailing(X, first)
    use(toFloat64(engine.multiply(left, right, { transposeB: true })), first)
  }
}

/** The columns of X from `first` on, in its own float type. */
function trailing(X: Matrix, first: number): Matrix {
  const columns = X.columns - first
  const data =
    X.data instanceof Float32Array ? new Float32Array(X.rows * columns) : new Float64Array(X.rows * columns)
  for (let i = 0; i < X.rows; i++)
    data.set(X.data.subarray(i * X.columns + first, (i + 1) * X.columns), i * columns)
  return { rows: X.rows, columns, data }
}

/** E‖D·x‖² = ‖D·R‖_F², its root. */
export function weighedNorm(engine: Pick<Engine, 'multiply'>, D: Matrix, root: Root): number {
  let squares = 0
  for (const x of timesRoot(engine, D, root).data) squares += x * x
  return Math.sqrt(squares)
}
