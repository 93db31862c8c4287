import type { Engine } from '../engine/engine.ts'
import type { Matrix } from '../matrix/matrix.ts'
import { relativeResidual } from '../matrix/residual.ts'
import type { Factors } from '../svd/factors.ts'

/** Norms between these have squares, and sums of squares of any number of entries, that stay in range. */
const SQUARABLE = { atLeast: 1e-140, atMost: 1e140 }

/**
 * ‖W − B·A‖_F / ‖W‖_F in float64: swept by the engine, or by plain loops that also scale where squares would leave the
 * range of numbers. `frobenius` is ‖W‖_F.
 */
export function measureError(engine: Engine, W: Matrix, { B, A }: Factors, frobenius: number): number {
  if (engine.name === 'js' || !(frobenius >= SQUARABLE.atLeast && frobenius <= SQUARABLE.atMost)) {
    return relativeResidual(W, B, A)
  }
  const resident = engine.resident(W)
  try {
    return Math.sqrt(resident.residualSquared(B, A) / resident.frobeniusSquared())
  } finally {
    resident.release()
  }
}
