import type { Engine } from '../../linalg/engine.ts'
import {
  type Float64Matrix,
  fromRows,
  type Matrix,
  toFloat32,
  transpose,
  zeros,
} from '../../linalg/matrix/matrix.ts'

/** Allowed relative error of results that aren't exact: far above rounding, far below a wrong answer. */
const TOLERANCE = 1e-12
/** Order of the eigenvalue and SVD problems: beyond 25, where LAPACK's divide and conquer begins to divide. */
const ORDER = 28

/** Columns are orthogonal, of lengths 6, 4 and 2. */
const KNOWN_VALUES = fromRows([
  [3, 2, 1],
  [3, -2, 1],
  [3, 2, -1],
  [3, -2, -1],
])

/**
 * Small problems whose answers are known, put to a library before it is trusted with any other. The failure in a few
 * words, or null when all came out right.
 */
export function selfCheck(engine: Engine): string | null {
  const failed = CHECKS.find(([, passes]) => !passes(engine))
  return failed === undefined ? null : `gets the ${failed[0]} of a small known matrix wrong`
}

const CHECKS: readonly [string, (engine: Engine) => boolean][] = [
  ['float64 product', (engine) => multipliesExactly(engine, (A) => A)],
  ['float32 product', (engine) => multipliesExactly(engine, toFloat32)],
  [
    'Gram product',
    (engine) =>
      equals(engine.gram(integers(70, 9)), plainProduct(transpose(integers(70, 9)), integers(70, 9))),
  ],
  ['QR', factorsOrthogonally],
  ['eigenvalue decomposition', findsEigenvalues],
  ['SVD', findsSingularValues],
]

/** Products of small integers are exact in any order of summation. */
function multipliesExactly(engine: Engine, store: (A: Float64Matrix) => Matrix): boolean {
  const A = integers(19, 70)
  const B = integers(70, 11)
  const expected = plainProduct(A, B)
  const [a, b] = [store(A), store(B)]
  return (
    equals(engine.multiply(a, b), expected) &&
    equals(engine.multiply(transpose(a), b, { transposeA: true }), expected) &&
    equals(engine.multiply(a, transpose(b), { transposeB: true }), expected) &&
    equals(engine.multiply(transpose(a), transpose(b), { transposeA: true, transposeB: true }), expected)
  )
}

function factorsOrthogonally(engine: Engine): boolean {
  const { Q, R } = engine.qr(KNOWN_VALUES)
  return (
    isClose(plainProduct(Q, R), KNOWN_VALUES) &&
    isClose(plainProduct(transpose(Q), Q), diagonal([1, 1, 1])) &&
    // Orthogonal columns: R is diagonal, of their lengths.
    isClose({ ...R, data: R.data.map(Math.abs) }, diagonal([6, 4, 2]))
  )
}

/** The eigenvalues of tridiag(−1, 2, −1) of order n are 4·sin²(iπ/(2n + 2)). */
function findsEigenvalues(engine: Engine): boolean {
  const G = secondDifferences(ORDER)
  const expected = Array.from(
    { length: ORDER },
    (_, i) => 4 * Math.sin(((i + 1) * Math.PI) / (2 * ORDER + 2)) ** 2,
  )
  const { values, vectors } = engine.symmetricEigen(G, 'thin')
  return (
    isClose(column(values), column(expected)) &&
    isClose(column(engine.symmetricEigen(G, 'none').values), column(expected)) &&
    isClose(plainProduct(G, vectors), plainProduct(vectors, diagonal(values)))
  )
}

function findsSingularValues(engine: Engine): boolean {
  const larger = secondDifferences(ORDER)
  const eigenvalues = engine.symmetricEigen(larger, 'none').values
  return (
    rebuilds(engine, KNOWN_VALUES, [6, 4, 2]) &&
    rebuilds(engine, transpose(KNOWN_VALUES), [6, 4, 2]) &&
    rebuilds(engine, larger, Array.from(eigenvalues).reverse())
  )
}

function rebuilds(engine: Engine, A: Float64Matrix, values: readonly number[]): boolean {
  const { U, S, V } = engine.svd(A, 'thin')
  return (
    isClose(column(S), column(values)) &&
    isClose(column(engine.svd(A, 'none').S), column(values)) &&
    isClose(plainProduct(plainProduct(U, diagonal(S)), transpose(V)), A)
  )
}

/** Integers in −6 … 6 without a pattern that a mistaken stride would keep. */
function integers(rows: number, columns: number): Float64Matrix {
  const A = zeros(rows, columns)
  for (let i = 0; i < A.data.length; i++) A.data[i] = ((i * i + 5 * i) % 13) - 6
  return A
}

function secondDifferences(n: number): Float64Matrix {
  const A = diagonal(Array(n).fill(2))
  for (let i = 0; i + 1 < n; i++) A.data[i * n + i + 1] = A.data[(i + 1) * n + i] = -1
  return A
}

function diagonal(values: ArrayLike<number>): Float64Matrix {
  const n = values.length
  const D = zeros(n, n)
  for (let i = 0; i < n; i++) D.data[i * n + i] = values[i]
  return D
}

const column = (values: ArrayLike<number>): Float64Matrix => ({
  rows: values.length,
  columns: 1,
  data: Float64Array.from(values),
})

function plainProduct(A: Matrix, B: Matrix): Float64Matrix {
  const C = zeros(A.rows, B.columns)
  for (let i = 0; i < A.rows; i++) {
    for (let k = 0; k < A.columns; k++) {
      for (let j = 0; j < B.columns; j++) {
        C.data[i * B.columns + j] += A.data[i * A.columns + k] * B.data[k * B.columns + j]
      }
    }
  }
  return C
}

function equals(A: Matrix, B: Matrix): boolean {
  return A.data.length === B.data.length && A.data.every((a, i) => a === B.data[i])
}

function isClose(A: Matrix, B: Float64Matrix): boolean {
  const size = B.data.reduce((most, b) => Math.max(most, Math.abs(b)), 0)
  return (
    A.data.length === B.data.length && A.data.every((a, i) => Math.abs(a - B.data[i]) <= TOLERANCE * size)
  )
}
