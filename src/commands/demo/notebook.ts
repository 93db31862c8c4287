import { type AllcloseResult, allclose } from '../../linalg/matrix/allclose.ts'
import { type FloatType, toFloat64 } from '../../linalg/matrix/matrix.ts'
import { addMultiple, frobeniusNorm, largestAbs, relativeResidual } from '../../linalg/matrix/norms.ts'
import { epsilonOf, numericalRank, optimalError } from '../../linalg/spectrum/ranks.ts'
import type { FloatMatrix } from '../../mathjs/float-matrix.ts'
import type { NotebookMath } from './math.ts'

export interface NotebookOptions {
  readonly d: number
  readonly k: number
  readonly rank: number
  /** How many directions to keep; the notebook keeps `rank`. */
  readonly truncate: number
  /** Standard deviation of the noise added to W; 0 for none. */
  readonly noise: number
  /** How often W is drawn before the one that is kept, counted from 1. */
  readonly draw: number
}

/** Every matrix of the notebook, under the notebook's names. bias, x, yRef, y are columns. */
export interface Notebook {
  readonly W: FloatMatrix
  readonly S: number[]
  readonly B: FloatMatrix
  readonly A: FloatMatrix
  readonly bias: FloatMatrix
  readonly x: FloatMatrix
  readonly yRef: FloatMatrix
  readonly y: FloatMatrix
}

/** The notebook, cell by cell. */
export function runNotebook(math: NotebookMath, options: NotebookOptions): Notebook {
  const { d, k, rank, truncate: r, noise } = options

  // W matrix dimensions d, k: generate a rank-deficient matrix
  const drawW = () => {
    const lowRank = math.multiply(math.randn(d, rank), math.randn(rank, k))
    return noise === 0 ? lowRank : math.add(lowRank, math.scale(noise, math.randn(d, k)))
  }
  let W = drawW()
  for (let draw = 1; draw < options.draw; draw++) W = drawW()

  // W = U · diag(S) · Vᵀ, and the first r directions of it
  const { U, S, V } = math.svd(W)
  const U_r = math.leadingColumns(U, r)
  const S_r = math.diag(S.toArray().slice(0, r))
  const V_r = math.transpose(math.leadingColumns(V, r))
  const B = math.multiply(U_r, S_r)
  const A = V_r

  // the same input through W and through B·A
  const bias = math.randn(d, 1)
  const x = math.randn(k, 1)
  const yRef = math.add(math.multiply(W, x), bias)
  const y = math.add(math.multiply(math.multiply(B, A), x), bias)

  return { W, S: S.toArray(), B, A, bias, x, yRef, y }
}

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
