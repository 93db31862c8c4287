import type { Engine } from '../engine.ts'
import {
  epsilonOf,
  type Float64Matrix,
  type Matrix,
  matrix,
  toFloat64,
  transpose,
  zeros,
} from '../matrix/matrix.ts'

/** Order of the diagonal blocks: products do most of the work, plain loops the blocks. */
const BLOCK = 128

/**
 * An upper bound, without any probability, on the largest eigenvalue of AᵀA on the complement of V: where
 * K = τ·I − P·AᵀA·P has a Cholesky factor L, K = L·Lᵀ + E ≥ −‖E‖_F, so the bound is τ + ‖K − L·Lᵀ‖_F, with the rounding of
 * the products added. Undefined where τ is too small. Costs about n³ flops in float64. `projected` is P·AᵀA·P [n, n].
 */
export function choleskyBound(
  engine: Pick<Engine, 'multiply' | 'gram'>,
  projected: Float64Matrix,
  tau: number,
): number | undefined {
  const n = projected.rows
  const K = matrix(
    n,
    n,
    Float64Array.from(projected.data, (x) => -x),
  )
  for (let i = 0; i < n; i++) K.data[i * n + i] += tau
  const Lt = choleskyTransposed(engine, { ...K, data: K.data.slice() })
  if (Lt === undefined) return undefined
  const product = engine.gram(Lt)
  let squares = 0
  for (let i = 0; i < K.data.length; i++) squares += (K.data[i] - product.data[i]) ** 2
  // tr(L·Lᵀ) bounds what rounding may have left out of the sums of either side.
  let trace = 0
  for (let i = 0; i < n; i++) trace += product.data[i * n + i] + Math.abs(projected.data[i * n + i])
  return tau + Math.sqrt(squares) + n * epsilonOf.f64 * trace
}

/** P·G·P for P = I − V·Vᵀ, V orthonormal [n, r], in float64, exactly symmetric. */
export function projectedGram(
  engine: Pick<Engine, 'multiply'>,
  G: Float64Matrix,
  V: Float64Matrix,
): Float64Matrix {
  const n = G.rows
  const GV = toFloat64(engine.multiply(G, V))
  const core = toFloat64(engine.multiply(V, GV, { transposeA: true }))
  // G − V·Hᵀ − H·Vᵀ with H = G·V − V·core/2.
  const half = toFloat64(engine.multiply(V, core))
  const H = matrix(
    n,
    V.columns,
    GV.data.map((x, i) => x - half.data[i] / 2),
  )
  const VH = engine.multiply(V, H, { transposeB: true })
  const out = zeros(n, n)
  for (let i = 0; i < n; i++) {
    for (let j = i; j < n; j++) {
      const x = G.data[i * n + j] - VH.data[i * n + j] - VH.data[j * n + i]
      out.data[i * n + j] = x
      out.data[j * n + i] = x
    }
  }
  return out
}

/** Lᵀ with K = L·Lᵀ, zeros below its diagonal, block by block; undefined where K is not positive definite. K is destroyed. */
function choleskyTransposed(
  engine: Pick<Engine, 'multiply' | 'gram'>,
  K: Float64Matrix,
): Float64Matrix | undefined {
  const n = K.rows
  const R = zeros(n, n)
  for (let k = 0; k < n; k += BLOCK) {
    const b = Math.min(BLOCK, n - k)
    const inverse = factorBlock(K, R, k, b)
    if (inverse === undefined) return undefined
    const rest = n - k - b
    if (rest === 0) break
    const right = part(K, k, k + b, b, rest)
    const panel = toFloat64(engine.multiply(inverse, right, { transposeA: true }))
    for (let i = 0; i < b; i++) R.data.set(panel.data.subarray(i * rest, (i + 1) * rest), (k + i) * n + k + b)
    const update = engine.gram(panel)
    for (let i = 0; i < rest; i++) {
      const row = (k + b + i) * n + k + b
      for (let j = i; j < rest; j++) K.data[row + j] -= update.data[i * rest + j]
    }
  }
  return R
}

/** Rₖₖ [b, b] with RᵀR the block of K at k (upper triangle), written to R, and its inverse; undefined on a pivot that is not positive. */
function factorBlock(K: Float64Matrix, R: Float64Matrix, k: number, b: number): Float64Matrix | undefined {
  const n = K.columns
  for (let i = k; i < k + b; i++) {
    for (let j = i; j < k + b; j++) {
      let sum = K.data[i * n + j]
      for (let c = k; c < i; c++) sum -= R.data[c * n + i] * R.data[c * n + j]
      if (i === j) {
        if (!(sum > 0)) return undefined
        R.data[i * n + i] = Math.sqrt(sum)
      } else R.data[i * n + j] = sum / R.data[i * n + i]
    }
  }
  const inverse = zeros(b, b)
  for (let j = 0; j < b; j++) {
    inverse.data[j * b + j] = 1 / R.data[(k + j) * n + k + j]
    for (let i = j - 1; i >= 0; i--) {
      let sum = 0
      for (let c = i + 1; c <= j; c++) sum += R.data[(k + i) * n + k + c] * inverse.data[c * b + j]
      inverse.data[i * b + j] = -sum / R.data[(k + i) * n + k + i]
    }
  }
  return inverse
}

function part(A: Float64Matrix, i: number, j: number, rows: number, columns: number): Float64Matrix {
  const out = zeros(rows, columns)
  for (let row = 0; row < rows; row++) {
    const start = (i + row) * A.columns + j
    out.data.set(A.data.subarray(start, start + columns), row * columns)
  }
  return out
}

/** XᵀX for the side on which A is short, in float64. */
export function shortGram(engine: Pick<Engine, 'gram'>, A: Matrix): Float64Matrix {
  return engine.gram(A.rows >= A.columns ? A : transpose(A))
}
