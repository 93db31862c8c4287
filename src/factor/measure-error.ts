import type { Engine } from '../engine/engine.ts'
import type { Matrix } from '../matrix/matrix.ts'
import { isSquarable, relativeResidual } from '../matrix/residual.ts'
import type { Factors } from '../svd/factors.ts'

/**
 * ‖W − B·A‖_F / ‖W‖_F in float64: swept by the engine, or by plain loops that also scale where squares would leave the
 * range of numbers. `frobenius` is ‖W‖_F.
 */
export function measureError(engine: Engine, W: Matrix, { B, A }: Factors, frobenius: number): number {
  if (engine.name === 'js' || !isSquarable(frobenius)) return relativeResidual(W, B, A)
  const resident = engine.resident(W)
  try {
    return Math.sqrt(resident.residualSquared(B, A) / resident.frobeniusSquared())
  } finally {
    resident.release()
  }
}
