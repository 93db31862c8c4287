import { type AllcloseResult, allclose } from '../matrix/allclose.ts'
import { addMultiple, frobeniusNorm, largestAbs } from '../matrix/arithmetic.ts'
import { type FloatType, toFloat64 } from '../matrix/matrix.ts'
import { relativeResidual } from '../matrix/residual.ts'
import { epsilonOf, numericalRank, optimalError } from '../rank/measures.ts'
import type { Notebook } from './notebook.ts'

export interface Tolerances {
  readonly rtol: number
  readonly atol: number
}

export interface DemoFigures {
  /** Numerical rank of W. */
  readonly rank: number
  readonly allclose: AllcloseResult
  /** max |y − yRef| */
  readonly maxAbsError: number
  /** ‖y − yRef‖₂ / (‖W‖_F·‖x‖₂ + ‖bias‖₂): how large the difference is against what went into it. */
  readonly normwiseError: number
  /** ‖W − B·A‖_F / ‖W‖_F, from B and A as they are. */
  readonly relativeError: number
  /** The same for the best matrix of that rank. */
  readonly optimalError: number
  readonly elements: { W: number; B: number; A: number; factors: number; ratio: number }
}

/** Everything the demo says about a notebook that has been run. */
export function measure(notebook: Notebook, float: FloatType, tolerances: Tolerances): DemoFigures {
  const { S } = notebook
  const [W, B, A, y, yRef] = [notebook.W, notebook.B, notebook.A, notebook.y, notebook.yRef].map(
    ({ flat }) => flat,
  )
  const spectrum = Float64Array.from(S)
  const difference = addMultiple(toFloat64(y), toFloat64(yRef), -1)
  const size =
    frobeniusNorm(W.data) * frobeniusNorm(notebook.x.flat.data) + frobeniusNorm(notebook.bias.flat.data)
  const factors = B.data.length + A.data.length
  return {
    rank: numericalRank(spectrum, W.rows, W.columns, epsilonOf[float]),
    allclose: allclose(y.data, yRef.data, tolerances),
    maxAbsError: largestAbs(difference.data),
    normwiseError: ratio(frobeniusNorm(difference.data), size),
    relativeError: relativeResidual(W, B, A),
    optimalError: optimalError(spectrum, B.columns),
    elements: {
      W: W.data.length,
      B: B.data.length,
      A: A.data.length,
      factors,
      ratio: factors / W.data.length,
    },
  }
}

const ratio = (part: number, whole: number) => (whole === 0 ? 0 : part / whole)
