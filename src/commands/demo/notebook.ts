import type { Engine } from '../../linalg/engine.ts'
import { type AllcloseResult, allclose } from '../../linalg/matrix/allclose.ts'
import { epsilonOf, type FloatArray, type Matrix, toFloat64 } from '../../linalg/matrix/matrix.ts'
import { addMultiple, frobeniusNorm, largestAbs, relativeResidual } from '../../linalg/matrix/norms.ts'
import { numericalRank, optimalError } from '../../linalg/spectrum/ranks.ts'
import type { ElementCounts } from '../../linalg/svd/svd.ts'
import { elementCounts } from '../../linalg/svd/svd.ts'
import type { FloatMatrix } from '../../mathjs/float-matrix.ts'
import { seedrandomNormals } from '../../random/seedrandom.ts'
import { torchNormals } from '../../random/torch.ts'
import { createNotebookMath, type NotebookMath } from './math.ts'
import type { DemoSettings } from './options.ts'

/** The entry of y that is farthest from being close to that of yRef. */
export interface WorstEntry {
  readonly index: number
  readonly y: number
  readonly yRef: number
  readonly difference: number
  /** The most that the difference may be. */
  readonly allowed: number
}

/** What one run of the notebook's experiment found, and all its matrices. */
export interface DemoResult {
  readonly options: DemoSettings
  /** Numerical rank of W. */
  readonly rank: number
  /** All singular values of W, non-increasing. */
  readonly singularValues: readonly number[]
  /** Whether every entry of y is as close to yRef as the tolerances ask. */
  readonly allclose: boolean
  /** Where allclose comes nearest to failing, or fails most; null where no entry can be compared. */
  readonly worst: WorstEntry | null
  /** max |y − yRef| */
  readonly maxAbsError: number
  /** ‖y − yRef‖₂ / (‖W‖_F·‖x‖₂ + ‖bias‖₂): how large the difference is against what went into it. */
  readonly normwiseError: number
  /** ‖W − B·A‖_F / ‖W‖_F, from B and A as they are. */
  readonly relativeError: number
  /** The same for the best matrix of that rank. */
  readonly optimalError: number
  readonly elements: ElementCounts
  /** [d, k] */
  readonly W: Matrix
  /** U_r·diag(S_r) [d, r] */
  readonly B: Matrix
  /** V_rᵀ [r, k] */
  readonly A: Matrix
  /** Of length d, as yRef and y. */
  readonly bias: FloatArray
  /** Of length k. */
  readonly x: FloatArray
  /** W·x + bias */
  readonly yRef: FloatArray
  /** (B·A)·x + bias */
  readonly y: FloatArray
}

/** What the notebook makes on its way, beside what it finds. */
export interface NotebookRun {
  readonly result: DemoResult
  /** randn(d, rank), of which W is the product with `right`, before noise. */
  readonly left: Matrix
  /** randn(rank, k) */
  readonly right: Matrix
  /** All left singular vectors of W, as columns [d, min(d, k)]. */
  readonly U: Matrix
  /** All right ones, as columns [k, min(d, k)]. */
  readonly V: Matrix
}

/** Runs the notebook with an engine: needs no files, no network, no threads. */
export function notebook(settings: DemoSettings, engine: Engine): NotebookRun {
  const cells = runNotebook(createNotebookMath(randnOf(settings), settings.dtype, engine), settings)
  const { left, right, U, V } = cells
  return { result: measured(settings, cells), left: left.flat, right: right.flat, U: U.flat, V: V.flat }
}

/** The `randn` of a run: the next `count` numbers of the stream in the arithmetic's float type. */
function randnOf({ rng, seed, dtype }: DemoSettings): (count: number) => FloatArray {
  if (rng === 'seedrandom') {
    const stream = seedrandomNormals(seed)
    return (count) => stream.normals(count, dtype)
  }
  const stream = torchNormals(seed)
  if (dtype === 'f32') return (count) => stream.normals(count, 'f32')
  // The notebook draws float32: with float64 arithmetic the numbers are the same ones, widened.
  return (count) => Float64Array.from(stream.normals(count, 'f32'))
}

/** Every matrix of the notebook, under the notebook's names. bias, x, yRef, y are columns. */
interface Notebook {
  readonly left: FloatMatrix
  readonly right: FloatMatrix
  readonly U: FloatMatrix
  readonly V: FloatMatrix
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
function runNotebook(math: NotebookMath, options: DemoSettings): Notebook {
  const { d, k, rank, truncate: r, noise } = options

  // W matrix dimensions d, k: generate a rank-deficient matrix
  const drawW = () => {
    const [left, right] = [math.randn(d, rank), math.randn(rank, k)]
    const lowRank = math.multiply(left, right)
    const W = noise === 0 ? lowRank : math.add(lowRank, math.scale(noise, math.randn(d, k)))
    return { left, right, W }
  }
  let drawn = drawW()
  for (let draw = 1; draw < options.draw; draw++) drawn = drawW()
  const { left, right, W } = drawn

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

  return { left, right, W, U, S: S.toArray(), V, B, A, bias, x, yRef, y }
}

/** Everything there is to say of a notebook that has been run. */
function measured(options: DemoSettings, notebook: Notebook): DemoResult {
  const { S } = notebook
  const [W, B, A] = [notebook.W.flat, notebook.B.flat, notebook.A.flat]
  const [bias, x, yRef, y] = [notebook.bias, notebook.x, notebook.yRef, notebook.y].map(
    ({ flat }) => flat.data,
  )
  const spectrum = Float64Array.from(S)
  const difference = addMultiple(toFloat64(notebook.y.flat), toFloat64(notebook.yRef.flat), -1)
  const size = frobeniusNorm(W.data) * frobeniusNorm(x) + frobeniusNorm(bias)
  const compared = allclose(y, yRef, options)
  return {
    options,
    rank: numericalRank(spectrum, W.rows, W.columns, epsilonOf[options.dtype]),
    singularValues: S,
    allclose: compared.allclose,
    worst: worstOf(compared, y, yRef),
    maxAbsError: largestAbs(difference.data),
    normwiseError: size === 0 ? 0 : frobeniusNorm(difference.data) / size,
    relativeError: relativeResidual(W, B, A),
    optimalError: optimalError(spectrum, B.columns),
    elements: elementCounts(W, B.columns),
    ...{ W, B, A, bias, x, yRef, y },
  }
}

function worstOf({ worst }: AllcloseResult, y: FloatArray, yRef: FloatArray): WorstEntry | null {
  if (worst === null) return null
  const { index, difference, allowed } = worst
  return { index, y: y[index], yRef: yRef[index], difference, allowed }
}
