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
import { choleskyTransposed } from '../svd/cholesky.ts'

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

/** XᵀX for the side on which A is short, in float64. */
export function shortGram(engine: Pick<Engine, 'gram'>, A: Matrix): Float64Matrix {
  return engine.gram(A.rows >= A.columns ? A : transpose(A))
}
