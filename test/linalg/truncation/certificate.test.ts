import { describe, expect, test } from 'vitest'
import {
  type Float64Matrix,
  leadingColumns,
  type Matrix,
  matrix,
  transpose,
  zeros,
} from '../../../src/linalg/matrix/matrix.ts'
import { jacobiSvd } from '../../../src/linalg/svd/jacobi.ts'
import { excessBound, residualNorms } from '../../../src/linalg/truncation/certificate.ts'
import { columnRange } from '../../../src/linalg/truncation/columns.ts'
import { uniform } from '../svd/support.ts'
import { jsEngine } from './engines.ts'

/** Of the largest eigenvalue: what float64 sums of a dozen terms may be off by. */
const ROUNDING = 1e-13

const exact = { product: 0, sum: 0, lost: 0 }

const product = (A: Matrix, B: Matrix) => jsEngine.multiply(A, B) as Float64Matrix

interface Problem {
  readonly squares: Float64Array
  readonly theta: Float64Array
  readonly residuals: Float64Matrix
  readonly mu: number
}

/** A random symmetric eigenproblem AᵀA = diag(squares) of order n and its Ritz pairs on l random directions. */
function randomProblem(random: () => number): Problem {
  const n = 3 + Math.floor((random() + 0.5) * 10)
  const l = 1 + Math.floor((random() + 0.5) * Math.min(6, n - 1))
  const squares = randomSpectrum(n, random)
  // How close the basis is to the leading eigenvectors: from nearly exact to not at all.
  const tilt = 10 ** (random() * 8 - 3)
  const start = zeros(n, n)
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) start.data[i * n + j] = tilt * random() + (i === j ? 1 : 0)
  const Q = jsEngine.qr(start).Q
  const V0 = leadingColumns(Q, l)
  const T = product(transpose(V0), scaledRows(V0, squares))
  const { values, vectors } = jsEngine.symmetricEigen(T, 'thin')
  const C = zeros(l, l)
  for (let i = 0; i < l; i++) for (let j = 0; j < l; j++) C.data[i * l + j] = vectors.data[i * l + l - 1 - j]
  const V = product(V0, C)
  const theta = values.reverse()
  const residuals = scaledRows(V, squares)
  for (let i = 0; i < n; i++)
    for (let j = 0; j < l; j++) residuals.data[i * l + j] -= theta[j] * V.data[i * l + j]
  const complement = columnRange(Q, l, n)
  const M = product(transpose(complement), scaledRows(complement as Float64Matrix, squares))
  const mu = n > l ? jsEngine.symmetricEigen(M, 'none').values[n - l - 1] : 0
  return { squares, theta, residuals, mu }
}

/** Non-increasing squares: decays of all speeds, clusters, repeated values, low rank. */
function randomSpectrum(n: number, random: () => number): Float64Array {
  const speed = 10 ** (random() * 3 - 1)
  const kind = Math.floor((random() + 0.5) * 4)
  const squares = Float64Array.from({ length: n }, (_, i) => {
    if (kind === 0) return Math.exp(-speed * i)
    if (kind === 1) return (i + 1) ** -speed
    if (kind === 2) return i < n / 3 ? 1 + 0.01 * random() : 0.3
    return random() + 0.5
  })
  return squares.sort().reverse()
}

function scaledRows(X: Float64Matrix, factors: Float64Array): Float64Matrix {
  return matrix(
    X.rows,
    X.columns,
    X.data.map((x, at) => x * factors[Math.floor(at / X.columns)]),
  )
}

describe('the theorem', () => {
  test('holds on 6000 random problems, for every rank', () => {
    const random = uniform(20240611)
    let tight = 0
    for (let problem = 0; problem < 6000; problem++) {
      const { squares, theta, residuals, mu } = randomProblem(random)
      // A bound that is raised must stay one.
      const raised = problem % 2 === 0 ? mu : mu * (1 + random() + 0.5)
      const bound = excessBound(
        { theta, vectors: zeros(0, 0), residuals },
        residualNorms(jsEngine, residuals),
        raised,
        exact,
      )
      let excess = 0
      for (let r = 0; r <= theta.length; r++) {
        if (bound.excess(r) < excess - ROUNDING * squares[0])
          expect.fail(`problem ${problem}, r ${r}: ${bound.excess(r)} < ${excess}`)
        const next = squares[r] ?? 0
        if (bound.beyond(r) < next * (1 - ROUNDING) - ROUNDING * squares[0])
          expect.fail(`problem ${problem}, k ${r}: ${bound.beyond(r)} < ${next}`)
        if (r > 0 && excess > 0.1 * bound.excess(r)) tight++
        excess += next - (theta[r] ?? 0)
      }
    }
    // Not only true but of use.
    expect(tight).toBeGreaterThan(6000)
  })

  test('holds of sums in float64 where the values were rounded by less than is allowed for', () => {
    const random = uniform(20261127)
    for (let problem = 0; problem < 2000; problem++) {
      const { squares, theta, residuals, mu } = randomProblem(random)
      const product = 10 ** (6 * random() - 6) * Math.sqrt(squares[0])
      const rounded = theta.map(
        (value) => Math.max(0, Math.sqrt(value) + (problem % 2 === 0 ? 1 : 2 * random()) * product) ** 2,
      )
      const bound = excessBound(
        { theta: rounded.sort().reverse(), vectors: zeros(0, 0), residuals },
        residualNorms(jsEngine, residuals),
        mu,
        { product, sum: 0, lost: 0 },
      )
      let excess = 0
      for (let r = 0; r <= theta.length; r++) {
        if (bound.excess(r) < excess - ROUNDING * squares[0])
          expect.fail(`problem ${problem}, r ${r}: ${bound.excess(r)} < ${excess}`)
        excess += (squares[r] ?? 0) - (theta[r] ?? 0)
      }
    }
  })

  test('says of a value that was rounded up no less than of the true one', () => {
    // AᵀA = diag(1, 0.9) seen from its second unit vector
    const rounding = { product: 1e-3, sum: 0, lost: 0 }
    const residuals = zeros(1, 1)
    const theta = Float64Array.of((Math.sqrt(0.9) + 1e-3) ** 2)
    const pairs = { theta, vectors: zeros(0, 0), residuals }
    expect(excessBound(pairs, residualNorms(jsEngine, residuals), 1, rounding).excess(1)).toBeGreaterThan(0.1)
  })

  test('is an equality in the limit of a small residual: excess = Σ‖s‖²/(θ − μ)', () => {
    const residuals = matrix(1, 2, Float64Array.of(1e-4, 2e-4))
    const bound = excessBound(
      { theta: Float64Array.of(4, 2), vectors: zeros(0, 0), residuals },
      residualNorms(jsEngine, residuals),
      1,
      exact,
    )
    expect(bound.excess(2)).toBeCloseTo(1e-8 / 3 + 4e-8 / 1, 14)
    expect(bound.beyond(2)).toBe(1)
  })

  test('the 2 × 2 case against its closed form', () => {
    // AᵀA = [[3, s], [s, 1]] on the first unit vector: the largest eigenvalue is 2 + √(1 + s²).
    for (const s of [0, 0.1, 1, 10]) {
      const residuals = matrix(1, 1, Float64Array.of(s))
      const bound = excessBound(
        { theta: Float64Array.of(3), vectors: zeros(0, 0), residuals },
        residualNorms(jsEngine, residuals),
        1,
        exact,
      )
      expect(bound.beyond(0)).toBeCloseTo(2 + Math.sqrt(1 + s * s), 13)
      expect(bound.excess(1)).toBeGreaterThanOrEqual(Math.sqrt(1 + s * s) - 1 - 1e-13)
      expect(bound.excess(1)).toBeLessThanOrEqual(Math.min((s * s) / 2, Math.sqrt(1 + s * s) - 1) + 1e-13)
    }
  })
})

test('norms of ranges of residual columns are those of their SVD', () => {
  const random = uniform(3)
  const S = matrix(5, 9, Float64Array.from({ length: 45 }, random))
  const norms = residualNorms(jsEngine, S)
  for (let k = 0; k < 9; k++) {
    expect(norms.from(k)).toBeCloseTo(jacobiSvd(columnRange(S, k, 9), 'none').S[0], 12)
    expect(norms.of(k)).toBeCloseTo(Math.hypot(...columnRange(S, k, k + 1).data), 13)
  }
  expect(norms.from(9)).toBe(0)
})
