/**
 * Matrices on which SVD codes are known to fail, with singular values from 60-digit arithmetic (mpmath) or closed
 * forms. The numbers are those of the project's numerics notes, section D; any engine's test can run the table.
 */
import { fromRows, identity, type Matrix, transpose, zeros } from '../../../src/linalg/matrix/matrix.ts'
import { randomMatrix, randomOrthogonal, withSingularValues } from './support.ts'

export interface HardCase {
  readonly number: number
  readonly name: string
  readonly A: Matrix
  /** Expected singular values; null where no value is stated. Empty: only orthonormality and residual are tested. */
  readonly S: readonly (number | null)[]
  /** |error| ≤ absolute·eps·S(0), eps = 2⁻⁵², or 2⁻²³ for float32 data. */
  readonly absolute: number
  /** |error| ≤ relative·|value|, for methods that keep relative accuracy. */
  readonly relative?: number
}

const { sqrt } = Math
const repeat = (value: number, count: number): number[] => Array(count).fill(value)
const from = (m: number, n: number, entry: (i: number, j: number) => number): Matrix =>
  fromRows(Array.from({ length: m }, (_, i) => Array.from({ length: n }, (_, j) => entry(i, j))))
const float32 = (A: Matrix): Matrix => ({ ...A, data: Float32Array.from(A.data) })

const kahan = (n: number, theta: number): Matrix => {
  const [s, c] = [Math.sin(theta), Math.cos(theta)]
  return from(n, n, (i, j) => (j < i ? 0 : j === i ? s ** i : -c * s ** i))
}

const graded = from(6, 6, (i, j) => 2 ** (-20 * i) * (((7 * i + 3 * j) % 5) - 2 + (i === j ? 3 : 0)))
const gradedValues = [
  3.3166247903554495, 2.456773812607e-6, 2.903522602509e-12, 1.483007758313e-18, 1.260298448405e-24,
  1.199006406845e-30,
]

const lowRank = (m: number, n: number, rank: number): Matrix => {
  const B = randomMatrix(m, rank, 5)
  const C = randomMatrix(rank, n, 6)
  return float32(
    from(m, n, (i, j) => {
      let sum = 0
      for (let k = 0; k < rank; k++) sum += B.data[i * rank + k] * C.data[k * n + j]
      return sum
    }),
  )
}

const withEqualColumns = (): Matrix => {
  const A = randomMatrix(12, 6, 27)
  for (let i = 0; i < 12; i++) A.data[i * 6 + 4] = A.data[i * 6 + 1]
  return A
}

const withZeroColumn = (): Matrix => {
  const A = randomMatrix(12, 6, 28)
  for (let i = 0; i < 12; i++) A.data[i * 6 + 3] = 0
  return A
}

const smallest32 = 2 ** -149

export const hardCases: readonly HardCase[] = [
  { number: 1, name: '0×0', A: zeros(0, 0), S: [], absolute: 0 },
  { number: 1, name: '0×5', A: zeros(0, 5), S: [], absolute: 0 },
  { number: 1, name: '5×0', A: zeros(5, 0), S: [], absolute: 0 },
  { number: 2, name: '3×4 zeros', A: zeros(3, 4), S: [0, 0, 0], absolute: 0 },
  { number: 3, name: '[-3]', A: fromRows([[-3]]), S: [3], absolute: 0 },
  { number: 4, name: 'a row', A: fromRows([[3, 0, 4, 0, 0]]), S: [5], absolute: 0 },
  { number: 4, name: 'a column', A: fromRows([[3], [0], [4], [0], [0]]), S: [5], absolute: 0 },
  { number: 5, name: 'identity 10', A: identity(10), S: repeat(1, 10), absolute: 4 },
  {
    number: 6,
    name: 'diag(5, −2, 0, 1)',
    A: from(4, 4, (i, j) => (i === j ? [5, -2, 0, 1][i] : 0)),
    S: [5, 2, 1, 0],
    absolute: 0,
  },
  {
    number: 7,
    name: '[[1, 2], [3, 4]]',
    A: fromRows([
      [1, 2],
      [3, 4],
    ]),
    S: [5.464985704219043, 0.3659661906262578],
    absolute: 4,
    relative: 1e-14,
  },
  {
    number: 8,
    name: '1 to 9',
    A: from(3, 3, (i, j) => 3 * i + j + 1),
    S: [16.84810335261421, 1.0683695145547085, 0],
    absolute: 10,
  },
  {
    number: 9,
    name: 'magic square 4',
    A: fromRows([
      [16, 2, 3, 13],
      [5, 11, 10, 8],
      [9, 7, 6, 12],
      [4, 14, 15, 1],
    ]),
    S: [34, 17.88854381999832, 4.47213595499958, 0],
    absolute: 10,
  },
  {
    number: 10,
    name: 'tridiagonal (−1, 2, −1)',
    A: from(5, 5, (i, j) => (i === j ? 2 : Math.abs(i - j) === 1 ? -1 : 0)),
    S: [2 + sqrt(3), 3, 2, 1, 2 - sqrt(3)],
    absolute: 10,
  },
  {
    number: 11,
    name: 'Hilbert 8',
    A: from(8, 8, (i, j) => 1 / (i + j + 1)),
    S: [
      1.6959389969219494,
      0.2981252113169307,
      null,
      null,
      null,
      null,
      1.7988737460063012e-8,
      1.1115389694888e-10,
    ],
    absolute: 20,
  },
  {
    number: 12,
    name: 'Hilbert 12',
    A: from(12, 12, (i, j) => 1 / (i + j + 1)),
    S: [1.7953720595619973, ...Array(9).fill(null), 2.6493e-14, 1.0675e-16],
    absolute: 20,
  },
  {
    number: 13,
    name: 'Kahan 30',
    A: kahan(30, 1.2),
    S: [4.320908197713618, ...Array(27).fill(null), 0.16266761245543657, 3.084522779118e-5],
    absolute: 20,
  },
  {
    number: 14,
    name: 'Vandermonde 8',
    A: from(8, 8, (i, j) => (i + 1) ** j),
    S: [
      2290654.238578499,
      19109.405877511675,
      430.864026643923,
      null,
      null,
      null,
      0.0761591896318,
      0.00240586702623915,
    ],
    absolute: 20,
  },
  { number: 15, name: 'graded rows', A: graded, S: gradedValues, absolute: 20 },
  {
    number: 15,
    name: 'graded columns',
    A: transpose(graded),
    S: gradedValues,
    absolute: 20,
    relative: 1e-12,
  },
  {
    number: 16,
    name: 'Läuchli',
    A: fromRows([
      [1, 1],
      [1e-9, 0],
      [0, 1e-9],
    ]),
    S: [Math.SQRT2, 1e-9],
    absolute: 4,
  },
  {
    number: 17,
    name: '[[1, 1], [0, 1e-10]]',
    A: fromRows([
      [1, 1],
      [0, 1e-10],
    ]),
    S: [Math.SQRT2, 7.071067811865475e-11],
    absolute: 4,
  },
  {
    number: 18,
    name: 'nearly equal rows',
    A: fromRows([
      [1, 1],
      [1, 1 + 2 ** -52],
    ]),
    S: [2, 1.11e-16],
    absolute: 4,
  },
  { number: 19, name: 'huge', A: hadamard(1e300), S: repeat(Math.SQRT2 * 1e300, 2), absolute: 5 },
  { number: 19, name: 'tiny', A: hadamard(1e-300), S: repeat(Math.SQRT2 * 1e-300, 2), absolute: 5 },
  {
    number: 20,
    name: 'subnormal diagonal',
    A: from(2, 2, (i, j) => (i === j ? 5e-324 : 0)),
    S: [5e-324, 5e-324],
    absolute: 0,
  },
  {
    number: 21,
    name: 'float32 near its maximum',
    A: float32(from(2, 2, () => 3e38)),
    S: [2 * Math.fround(3e38), 0],
    absolute: 1,
  },
  {
    number: 24,
    name: 'all ones',
    A: from(100, 60, () => 1),
    S: [sqrt(6000), ...repeat(0, 59)],
    absolute: 10,
  },
  { number: 25, name: 'orthogonal 64', A: randomOrthogonal(64, 25), S: repeat(1, 64), absolute: 20 },
  { number: 25, name: 'orthogonal 90', A: randomOrthogonal(90, 26), S: repeat(1, 90), absolute: 20 },
  {
    number: 26,
    name: 'two clusters',
    A: withSingularValues(20, 20, [...repeat(1, 10), ...repeat(1e-3, 10)], 26),
    S: [...repeat(1, 10), ...repeat(1e-3, 10)],
    absolute: 20,
  },
  {
    number: 27,
    name: 'two equal columns',
    A: withEqualColumns(),
    S: [...Array(5).fill(null), 0],
    absolute: 10,
  },
  { number: 27, name: 'a zero column', A: withZeroColumn(), S: [...Array(5).fill(null), 0], absolute: 10 },
  {
    number: 28,
    name: 'float32 of rank 5',
    A: lowRank(200, 100, 5),
    S: [...Array(5).fill(null), ...repeat(0, 95)],
    absolute: 100,
  },
  { number: 32, name: 'tall 5000×3', A: randomMatrix(5000, 3, 32), S: [], absolute: 0 },
  { number: 32, name: 'wide 3×5000', A: randomMatrix(3, 5000, 33), S: [], absolute: 0 },
  {
    number: 34,
    name: '0.9^i, order 200',
    A: withSingularValues(
      200,
      200,
      Array.from({ length: 200 }, (_, i) => 0.9 ** i),
      34,
    ),
    S: Array.from({ length: 200 }, (_, i) => 0.9 ** i),
    absolute: 60,
  },
  { number: 36, name: 'float32 zeros', A: float32(zeros(80, 70)), S: repeat(0, 70), absolute: 0 },
  {
    number: 38,
    name: 'negative zeros',
    A: from(3, 3, (i, j) => (i === j ? i + 1 : -0)),
    S: [3, 2, 1],
    absolute: 0,
  },
  {
    number: 38,
    name: 'subnormal float32',
    A: float32(from(4, 4, (i, j) => (i === j ? (i + 1) * smallest32 : -0))),
    S: [4, 3, 2, 1].map((k) => k * smallest32),
    absolute: 1,
  },
]

function hadamard(scale: number): Matrix {
  return fromRows([
    [scale, scale],
    [scale, -scale],
  ])
}
