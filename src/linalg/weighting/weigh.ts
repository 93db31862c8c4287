import type { Engine } from '../engine.ts'
import {
  type Float64Matrix,
  type FloatArray,
  type Matrix,
  matrix,
  toFloat32,
  toFloat64,
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
  const product = new Float64Array(rows * k)
  eachPanel(engine, X, root.Lt, placedIn(product, k))
  return matrix(rows, k, product)
}

/** Puts panels of columns where they belong in rows of k. */
const placedIn = (out: FloatArray, k: number) => (panel: Matrix, first: number) => {
  const { rows, columns, data } = panel
  for (let i = 0; i < rows; i++) out.set(data.subarray(i * columns, (i + 1) * columns), i * k + first)
}

/** How Δ·R is formed where both are large: in float64, or of a float32 Δ in float32, in less than half of the time. */
export type Formation = 'wide' | 'float32'

/**
 * Δ·R, formed in float64 and rounded once to Δ's own float type where it is large, unless it is to be formed in float32: what is decomposed in
 * place of Δ. Δ itself where C = I, number for number.
 */
export function weighed(
  engine: Pick<Engine, 'multiply'>,
  delta: Matrix,
  root: Root,
  formed: Formation = 'wide',
): Matrix {
  if (root.kind === 'unit') return delta
  const { rows, columns: k, data } = delta
  const isWide = data instanceof Float64Array || rows * k <= KEPT_WIDE
  if (isWide) return timesRoot(engine, delta, root)
  const out = new Float32Array(rows * k)
  if (root.kind === 'diagonal') return matrix(rows, k, scaledColumns(out, data, root.scale))
  if (root.kind === 'eigen') out.set(engine.multiply(delta, inFormation(root.R, formed)).data)
  else eachPanel(engine, delta, root.Lt, placedIn(out, k), formed)
  return matrix(rows, k, out)
}

const inFormation = (R: Float64Matrix, formed: Formation): Matrix => (formed === 'float32' ? toFloat32(R) : R)

/** Rows of Δ that are formed again in float64 to see what float32 made of them. */
const SAMPLED_ROWS = 8
/** No formation in float32 counts as nearer than this: rounding of the sums of a few hundred products. */
const LEAST_ROUNDING = 2 ** -22

/** How far X = Δ·R, formed in float32, is from it, relative to ‖X‖_F: from some rows, evenly spaced. */
export function formationError(
  engine: Pick<Engine, 'multiply'>,
  delta: Matrix,
  root: Root,
  X: Matrix,
  frobenius: number,
): number {
  const { rows, columns: k } = delta
  if (root.kind === 'unit' || root.kind === 'diagonal' || X.data instanceof Float64Array) return 0
  const count = Math.min(rows, SAMPLED_ROWS)
  const places = Array.from({ length: count }, (_, i) => Math.floor(((i + 0.5) * rows) / count))
  const some = new Float32Array(count * k)
  places.forEach((place, i) => {
    some.set(delta.data.subarray(place * k, (place + 1) * k), i * k)
  })
  const exact = timesRoot(engine, matrix(count, k, some), root)
  let squares = 0
  for (const [i, place] of places.entries()) {
    for (let j = 0; j < k; j++) squares += (exact.data[i * k + j] - X.data[place * k + j]) ** 2
  }
  return Math.max(LEAST_ROUNDING, Math.sqrt((squares * rows) / count) / frobenius)
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
  use: (panel: Matrix, first: number) => void,
  formed: Formation = 'wide',
): void {
  const k = X.columns
  for (let first = 0; first < k; first += PANEL) {
    const count = Math.min(PANEL, k - first)
    const right = inFormation(part(Lt, first, first, count, k - first), formed)
    const left = first === 0 ? X : trailing(X, first)
    use(engine.multiply(left, right, { transposeB: true }), first)
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
