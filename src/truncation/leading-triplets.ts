import type { Engine } from '../engine/engine.ts'
import { type Float64Matrix, type Matrix, toFloat64 } from '../matrix/matrix.ts'
import { jacobiSvd } from '../svd/jacobi.ts'
import type { Draw } from './draws.ts'
import { orthonormalize } from './orthonormalize.ts'

/** Order up to which Jacobi beats the routes through a tridiagonal matrix: the core is nearly diagonal, two sweeps do. */
const JACOBI_ORDER = 160

/** The singular triplets of A on a subspace: A·V·Vᵀ = left·diag(S)·rightᵀ, left [long, r], S [r], right [short, r]. */
export interface Triplets {
  readonly left: Float64Matrix
  readonly S: Float64Array
  readonly right: Float64Matrix
}

/**
 * The SVD of A·V·Vᵀ in float64 from V [short, r], orthonormal, and W = A·V [long, r]: orthonormalize W = Q·R, decompose
 * the small R. `draw` completes Q where W has fewer than r independent columns.
 */
export function tripletsOn(
  engine: Pick<Engine, 'multiply' | 'gram' | 'svd'>,
  V: Float64Matrix,
  W: Matrix,
  draw: Draw,
): Triplets {
  const Q = orthonormalize(engine, toFloat64(W), [], draw).basis
  const R = engine.multiply(Q, W, { transposeA: true })
  const core = R.rows <= JACOBI_ORDER ? jacobiSvd(R) : engine.svd(R, 'thin')
  return {
    left: toFloat64(engine.multiply(Q, core.U)),
    S: core.S,
    right: toFloat64(engine.multiply(V, core.V)),
  }
}
