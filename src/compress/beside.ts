import type { Engine } from '../linalg/engine.ts'
import {
  epsilonOf,
  type Float64Matrix,
  floatType,
  type Matrix,
  toFloat32,
  toFloat64,
} from '../linalg/matrix/matrix.ts'
import type { Spectrum } from '../linalg/spectrum/spectrum.ts'
import { orthonormalize } from '../linalg/truncation/orthonormalize.ts'
import { streamKeys, uniformColumns } from '../linalg/truncation/streams.ts'

/** Bounds of squares are raised by as much as float32's rounding may have made of them. */
const SLACK = 1e-6

/**
 * What the plain spectrum of Δ is at least, by one step of subspace iteration from directions that are near to its own: an upper bound on the
 * least error at each rank, and none from below. It costs one product. `near` [k, r] are the columns of Δᵀ·U.
 */
export function besideSpectrum(
  engine: Engine,
  delta: Matrix,
  frobenius: number,
  near: Float64Matrix,
  name: string,
): Spectrum {
  const draw = uniformColumns(near.rows, 'f64', streamKeys(delta, 0, name).known('beside'))
  const V = orthonormalize(engine, near, [], draw).basis
  const resident = engine.resident(delta)
  let W: Matrix
  try {
    W = resident.multiply(floatType(delta) === 'f32' ? toFloat32(V) : toFloat64(V))
  } finally {
    resident.release()
  }
  const { values } = engine.symmetricEigen(engine.gram(W), 'none')
  const squares = values.map((x) => Math.max(0, x * (1 - SLACK))).reverse()
  return {
    rows: delta.rows,
    columns: delta.columns,
    frobenius,
    singularValues: squares.map(Math.sqrt),
    complete: false,
    // nothing is known from below
    excess: 1,
    next: { atLeast: 0, atMost: frobenius },
    epsilon: epsilonOf[floatType(delta)],
    method: 'krylov',
    failureProbability: 0,
  }
}
