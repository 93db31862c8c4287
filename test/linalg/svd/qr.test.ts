import { describe, expect, test } from 'vitest'
import { type Float64Matrix, transpose, zeros } from '../../../src/linalg/matrix/matrix.ts'
import { decompositions } from '../../../src/linalg/svd/decompositions.ts'
import { type Block, block, rowOf } from '../../../src/linalg/svd/kernels.ts'
import { pivotedRowQr } from '../../../src/linalg/svd/preconditioned-jacobi.ts'
import { makeReflector, orthonormalRows, type RowQr, rowQr } from '../../../src/linalg/svd/qr.ts'
import { EPS, kernelSets, orthogonalityError, randomMatrix, toBlock, toMatrix } from './support.ts'

const shapes = [
  [1, 1],
  [1, 9],
  [3, 3],
  [31, 40],
  [32, 32],
  [33, 33],
  [64, 65],
  [70, 71],
  [100, 130],
]

/** max |Xᵀ − L·Qᵀ|, with row j of X at `row(j)`. */
function productError(X: Float64Matrix, { reduced }: RowQr, Q: Block, row: (j: number) => number): number {
  let worst = 0
  const [L, Qt] = [toMatrix(reduced).data, toMatrix(Q).data]
  for (let j = 0; j < X.rows; j++) {
    for (let i = 0; i < X.columns; i++) {
      let sum = 0
      for (let k = 0; k <= j; k++) sum += L[j * X.columns + k] * Qt[k * X.columns + i]
      worst = Math.max(worst, Math.abs(sum - X.data[row(j) * X.columns + i]))
    }
  }
  return worst
}

/** Four columns, where there are enough, are sums of others: rank n − 4. */
function deficient(n: number, m: number): Float64Matrix {
  const X = randomMatrix(n, m, 3)
  for (let j = 0; j < 4 && j + 20 < n; j++) {
    for (let i = 0; i < m; i++) X.data[j * m + i] = X.data[(j + 10) * m + i] + X.data[(j + 20) * m + i]
  }
  return X
}

describe.each(kernelSets)('QR on %s kernels', (_, kernels) => {
  test.each(shapes)('rowQr %i×%i: X = Q·R, Q orthonormal', (n, m) => {
    for (const X of [randomMatrix(n, m, n + m), deficient(n, m), zeros(n, m)]) {
      const qr = rowQr(kernels, toBlock(kernels, X))
      const Q = block(kernels.allocate(n * m), n, m)
      orthonormalRows(kernels, qr, Q)
      expect(productError(X, qr, Q, (j) => j)).toBeLessThan(4 * Math.max(8, n) * EPS)
      expect(orthogonalityError(transpose(toMatrix(Q)))).toBeLessThan(Math.max(8, n) * EPS)
    }
  })

  test.each(shapes)(
    'pivotedRowQr %i×%i: X·P = Q·R and |R(k,k)| bounds what is left of every column',
    (n, m) => {
      for (const X of [randomMatrix(n, m, n + m), deficient(n, m), zeros(n, m)]) {
        const qr = pivotedRowQr(kernels, toBlock(kernels, X))
        const Q = block(kernels.allocate(n * m), n, m)
        orthonormalRows(kernels, qr, Q)
        expect(productError(X, qr, Q, (j) => qr.permutation[j])).toBeLessThan(4 * Math.max(8, n) * EPS)
        expect(orthogonalityError(transpose(toMatrix(Q)))).toBeLessThan(Math.max(8, n) * EPS)
        expect([...qr.permutation].sort((a, b) => a - b)).toEqual([...Array(n).keys()])
        for (let k = 0; k < n; k++) {
          const diagonal = Math.abs(rowOf(qr.reduced, k)[k])
          for (let j = k + 1; j < n; j++) {
            let squares = 0
            for (let i = k; i <= j; i++) squares += rowOf(qr.reduced, j)[i] ** 2
            expect(Math.sqrt(squares)).toBeLessThanOrEqual(diagonal * (1 + 1e-7) + 100 * EPS)
          }
        }
      }
    },
  )

  test('pivotedRowQr finds the rank, and does not take small columns for rounding', () => {
    const qr = pivotedRowQr(kernels, toBlock(kernels, deficient(60, 80)))
    const diagonal = Array.from({ length: 60 }, (_, k) => Math.abs(rowOf(qr.reduced, k)[k]))
    expect(qr.rank).toBe(56)
    expect(diagonal[55]).toBeGreaterThan(0.01)
    expect(diagonal.slice(56)).toEqual([0, 0, 0, 0])
    const graded = randomMatrix(60, 80, 4)
    for (let j = 0; j < 60; j++) for (let i = 0; i < 80; i++) graded.data[j * 80 + i] *= 2 ** (-4 * j)
    expect(pivotedRowQr(kernels, toBlock(kernels, graded)).rank).toBe(60)
  })
})

describe('makeReflector', () => {
  test.each([
    [[3, 4]],
    [[-3, 4]],
    [[0, 5e-324]],
    [[0, -1e-162, 2e-162]],
    [[1e-200, 1e-200, -1e-200]],
    [[0, 1]],
  ])('%j: H·x = [±‖x‖, 0, …]', (x) => {
    const y = Float64Array.from(x)
    const tau = makeReflector(y)
    const v = [1, ...y.subarray(1)]
    expect(tau * v.reduce((sum, vi) => sum + vi * vi, 0)).toBeCloseTo(2, 14)
    const dot = v.reduce((sum, vi, i) => sum + vi * x[i], 0)
    const norm = Math.hypot(...x)
    expect(Math.abs(Math.abs(y[0]) - norm)).toBeLessThanOrEqual(4 * EPS * norm)
    x.forEach((xi, i) => {
      expect(Math.abs(xi - tau * v[i] * dot - (i === 0 ? y[0] : 0))).toBeLessThanOrEqual(4 * EPS * norm)
    })
  })

  test('a vector along the first axis needs none', () => {
    const nearly = Float64Array.of(1, 1e-170)
    expect(makeReflector(nearly)).toBe(0)
    expect(nearly).toEqual(Float64Array.of(1, 0))
    const x = Float64Array.of(-2, 0, 0)
    expect(makeReflector(x)).toBe(0)
    expect(x).toEqual(Float64Array.of(-2, 0, 0))
  })
})

describe.each(kernelSets)('thinQr on %s kernels', (_, kernels) => {
  const { qr } = decompositions(kernels)

  test.each([
    [0, 0],
    [5, 0],
    [1, 1],
    [7, 7],
    [90, 33],
    [70, 70],
  ])('%i×%i: A = Q·R at any scale', (m, n) => {
    for (const scale of [1, 2 ** -1000, 2 ** 1000]) {
      const A = randomMatrix(m, n, m + n)
      for (let i = 0; i < A.data.length; i++) A.data[i] *= scale
      const { Q, R } = qr(A)
      expect([Q.rows, Q.columns, R.rows, R.columns]).toEqual([m, n, n, n])
      expect(orthogonalityError(Q)).toBeLessThan(Math.max(8, n) * EPS)
      let worst = 0
      for (let i = 0; i < m; i++) {
        for (let j = 0; j < n; j++) {
          let sum = 0
          for (let k = 0; k < n; k++) sum += Q.data[i * n + k] * (R.data[k * n + j] / scale)
          worst = Math.max(worst, Math.abs(sum - A.data[i * n + j] / scale))
        }
      }
      expect(worst).toBeLessThan(4 * Math.max(8, n) * EPS)
      for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) expect(R.data[i * n + j]).toBe(0)
    }
  })

  test('refuses wide and non-finite matrices', () => {
    expect(() => qr(zeros(3, 4))).toThrow('QR needs at least as many rows as columns, got 3×4')
    expect(() => qr({ rows: 1, columns: 1, data: Float64Array.of(Number.NaN) })).toThrow('NaN at row 0')
  })
})
