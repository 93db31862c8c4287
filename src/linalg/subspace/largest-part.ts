import type { Engine } from '../engine.ts'
import { epsilonOf, type Float64Matrix, matrix, toFloat64, zeros } from '../matrix/matrix.ts'
import { add, dot } from '../matrix/vector.ts'
import type { Operator } from '../truncation/krylov.ts'

/**
 * How much of a vector x can at most lie in one left singular vector of A, found from a few products of A and without any of those
 * vectors.
 *
 * With AAᵀ = Σ t_i·u_i·u_iᵀ, the numbers (u_iᵀx)² are the jumps of a measure at the t_i. n steps of the Lanczos process from x give
 * the nodes θ_1 < … < θ_n and weights w_k of its Gauss quadrature, and by the inequalities of Chebyshev, Markov and Stieltjes
 * (Szegő, Orthogonal Polynomials, 3.41) the measure has at most w_k + w_{k+1} in the open interval (θ_k, θ_{k+1}), at most w_k
 * at θ_k, at most w_1 below θ_1 and w_n above θ_n. So no jump is larger than the largest w_k + w_{k+1}. Where x is spread over a bulk of
 * singular vectors, the weights fall as 1/n.
 */

/** Steps at most: with so many a vector that is spread evenly has weights of some hundredths. */
const MOST_STEPS = 40
/** What is left of a vector, relative to ‖A‖_F², below which it lies in the space that the process has filled. */
const INVARIANT = 64 * epsilonOf.f64

/** The Lanczos process of one vector. */
interface Process {
  /** Orthonormal vectors, the first of them x. */
  readonly vectors: Float64Array[]
  readonly diagonal: number[]
  readonly offDiagonal: number[]
  isOver: boolean
}

/**
 * At least max_i (u_iᵀx)² of each column x of X [rows, q], of unit length, by the Lanczos process with full orthogonalization in
 * float64; it stops where all are below `enough`.
 */
export function largestParts(
  engine: Pick<Engine, 'symmetricEigen'>,
  A: Operator,
  X: Float64Matrix,
  enough: number,
): Float64Array {
  const processes = Array.from({ length: X.columns }, (_, j) => start(X, j))
  const bounds = new Float64Array(X.columns).fill(1)
  const least = INVARIANT * A.frobenius * A.frobenius
  for (let step = 0; step < MOST_STEPS; step++) {
    const running = processes.flatMap((one, j) => (one.isOver || bounds[j] < enough ? [] : [j]))
    if (running.length === 0) break
    const products = timesNormal(A, besideEachOther(running.map((j) => processes[j].vectors.at(-1)!)))
    for (const [at, j] of running.entries()) {
      advance(processes[j], columnOf(products, at), least)
      bounds[j] = Math.min(bounds[j], largestJump(engine, processes[j]))
    }
  }
  return bounds
}

const start = (X: Float64Matrix, j: number): Process => ({
  vectors: [columnOf(X, j)],
  diagonal: [],
  offDiagonal: [],
  isOver: false,
})

/** AAᵀ·X, where A is seen from its short side. */
const timesNormal = (A: Operator, X: Float64Matrix): Float64Matrix =>
  toFloat64(A.isWide ? A.backward(A.forward(X)) : A.forward(A.backward(X)))

/** One step, from AAᵀ times the last vector, which it overwrites. */
function advance(process: Process, y: Float64Array, least: number): void {
  const { vectors, diagonal, offDiagonal } = process
  diagonal.push(dot(vectors.at(-1)!, y))
  // twice is enough (Parlett, The Symmetric Eigenvalue Problem, 6.9)
  for (let pass = 0; pass < 2; pass++) for (const q of vectors) add(-dot(q, y), q, y)
  const length = Math.sqrt(dot(y, y))
  process.isOver = !(length > least)
  if (process.isOver) return
  offDiagonal.push(length)
  vectors.push(y.map((value) => value / length))
}

/** The largest jump that the measure can have; where the process is over, what it has. */
function largestJump(
  engine: Pick<Engine, 'symmetricEigen'>,
  { diagonal, offDiagonal, isOver }: Process,
): number {
  const n = diagonal.length
  const T = zeros(n, n)
  for (let i = 0; i < n; i++) {
    T.data[i * n + i] = diagonal[i]
    if (i + 1 < n) T.data[i * n + i + 1] = T.data[(i + 1) * n + i] = offDiagonal[i]
  }
  const { vectors } = engine.symmetricEigen(T, 'thin')
  const weights = vectors.data.subarray(0, n).map((first) => first * first)
  return weights.reduce((most, weight, k) => Math.max(most, weight + (isOver ? 0 : (weights[k + 1] ?? 0))), 0)
}

function columnOf({ rows, columns, data }: Float64Matrix, j: number): Float64Array {
  const out = new Float64Array(rows)
  for (let i = 0; i < rows; i++) out[i] = data[i * columns + j]
  return out
}

function besideEachOther(vectors: readonly Float64Array[]): Float64Matrix {
  const columns = vectors.length
  const data = new Float64Array(vectors[0].length * columns)
  for (const [j, vector] of vectors.entries()) {
    for (let i = 0; i < vector.length; i++) data[i * columns + j] = vector[i]
  }
  return matrix(vectors[0].length, columns, data)
}
