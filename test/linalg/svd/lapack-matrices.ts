/** The test matrices of LAPACK's xDRVBD (TESTING/EIG/ddrvbd.f, svd.in); any engine's test can run them. */
import { identity, type Matrix, zeros } from '../../../src/linalg/matrix/matrix.ts'
import { EPS, uniform, withSingularValues } from './support.ts'

const UNDERFLOW = 2 ** -1022
const OVERFLOW = Number.MAX_VALUE

/** The size pairs of LAPACK's svd.in, then some beyond the order where the Gram route takes over. */
export const sizes: [number, number][] = [
  [0, 0],
  [0, 1],
  [0, 3],
  [1, 0],
  [1, 1],
  [1, 2],
  [2, 0],
  [2, 1],
  [3, 0],
  [3, 1],
  [3, 3],
  [10, 10],
  [10, 16],
  [16, 10],
  [16, 30],
  [30, 16],
  [30, 30],
  [30, 40],
  [40, 30],
  [40, 40],
  [65, 65],
  [66, 97],
  [97, 66],
  [110, 131],
]

/** D evenly spaced from 1 to ulp, with random signs (xDRVBD type 3). */
function evenlySpaced(n: number, seed: number): Float64Array {
  const next = uniform(seed)
  return Float64Array.from({ length: n }, (_, i) => {
    const size = n === 1 ? 1 : 1 - (i / (n - 1)) * (1 - EPS)
    return next() < 0 ? -size : size
  })
}

/** D falling geometrically from 1 to ulp: far more small values than large ones. */
export function geometric(n: number): Float64Array {
  return Float64Array.from({ length: n }, (_, i) => EPS ** (n === 1 ? 0 : i / (n - 1)))
}

function times(A: Matrix, factor: number): Matrix {
  return { ...A, data: A.data.map((x) => x * factor) }
}

function rectangle(m: number, n: number): Matrix {
  const A = zeros(m, n)
  const I = identity(Math.min(m, n))
  for (let i = 0; i < I.rows; i++) A.data[i * n + i] = 1
  return A
}

export const types: [string, (m: number, n: number) => Matrix][] = [
  ['zero', zeros],
  ['identity', rectangle],
  ['evenly spaced', (m, n) => withSingularValues(m, n, evenlySpaced(Math.min(m, n), 3), 100 * m + n)],
  [
    'near underflow',
    (m, n) => times(withSingularValues(m, n, evenlySpaced(Math.min(m, n), 4), m + n), UNDERFLOW / EPS),
  ],
  [
    'near overflow',
    (m, n) => times(withSingularValues(m, n, evenlySpaced(Math.min(m, n), 5), m + n), OVERFLOW * EPS),
  ],
  ['geometric', (m, n) => withSingularValues(m, n, geometric(Math.min(m, n)), 100 * m + n)],
]
