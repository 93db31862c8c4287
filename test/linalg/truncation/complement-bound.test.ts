import { describe, expect, test } from 'vitest'
import { type Matrix, matrix, zeros } from '../../../src/linalg/matrix/matrix.ts'
import {
  type ComplementBound,
  complementBounds,
  smallChiSquare,
} from '../../../src/linalg/truncation/complement-bound.ts'
import type { Operator } from '../../../src/linalg/truncation/krylov.ts'
import { torchNormals } from '../../../src/random/torch.ts'
import { jsEngine } from './engines.ts'

/** A = diag(√squares). */
function diagonalOperator(squares: ArrayLike<number>): Operator {
  const n = squares.length
  const times = (X: Matrix) =>
    matrix(
      n,
      X.columns,
      Float64Array.from(X.data, (x, at) => x * Math.sqrt(squares[Math.floor(at / X.columns)])),
    )
  return {
    long: n,
    short: n,
    isWide: false,
    exponent: 0,
    precision: 'f64',
    leastColumns: 1,
    frobenius: Math.sqrt(Array.from(squares).reduce((sum, x) => sum + x, 0)),
    forward: times,
    backward: times,
    residualSquared: () => Number.NaN,
    release() {},
  }
}

/** The first `steps` bounds on the complement of the first `deflated` unit vectors. */
function boundsOf(squares: number[], deflated: number, steps: number, probability: number, seed: number) {
  const n = squares.length
  const V = zeros(deflated, n)
  for (let i = 0; i < deflated; i++) V.data[i * n + i] = 1
  const stream = torchNormals(seed)
  const draw = (columns: number) => matrix(n, columns, stream.normals(n * columns, 'f64'))
  const bounds: ComplementBound[] = []
  for (const bound of complementBounds(jsEngine, diagonalOperator(squares), V, draw, probability, 0)) {
    bounds.push(bound)
    if (bounds.length === steps) break
  }
  return bounds
}

const spectra: readonly (readonly [string, (i: number, n: number) => number])[] = [
  ['one above a flat rest', (i) => (i === 0 ? 1 : 0.5)],
  ['one far above a flat rest', (i) => (i === 0 ? 1 : 0.01)],
  ['geometric', (i) => 0.8 ** i],
  ['1/i', (i) => 1 / (i + 1)],
  ['linear', (i, n) => 1 - i / n],
  ['flat', () => 1],
]

describe('the bound on the complement', () => {
  test.each(spectra)('fails no more often than promised: %s', (_, spectrum) => {
    const n = 60
    const probability = 0.05
    const runs = 200
    const failures = [0, 0, 0]
    for (let seed = 0; seed < runs; seed++) {
      const squares = Array.from({ length: n }, (_, i) => (i < 2 ? 10 : spectrum(i - 2, n - 2)))
      boundsOf(squares, 2, 3, probability, seed).forEach(({ mu }, step) => {
        if (mu < 1 - 1e-12) failures[step]++
      })
    }
    // Three standard deviations above the mean of a binomial distribution.
    const most = runs * probability + 3 * Math.sqrt(runs * probability * (1 - probability))
    for (const count of failures) expect(count).toBeLessThanOrEqual(most)
  })

  test('has no more slack than it needs: where nine failures in ten are allowed, some occur', () => {
    const squares = Array.from({ length: 60 }, (_, i) => (i === 0 ? 1 : 0.01))
    const ratios = Array.from({ length: 100 }, (_, seed) => boundsOf(squares, 0, 1, 0.9, seed)[0])
    expect(ratios.some(({ mu }) => mu < 1)).toBe(true)
  })

  test.each(spectra)('never falls below ξ and narrows with every step: %s', (_, spectrum) => {
    const squares = Array.from({ length: 150 }, (_, i) => spectrum(i, 150))
    const bounds = boundsOf(squares, 0, 12, 1e-9, 7)
    bounds.forEach(({ xi, mu }, step) => {
      expect(xi).toBeLessThanOrEqual(1 + 1e-12)
      expect(mu).toBeGreaterThanOrEqual(1 - 1e-12)
      if (step > 0) expect(mu / xi).toBeLessThan(bounds[step - 1].mu / bounds[step - 1].xi)
    })
    // Kuczyński & Woźniakowski's bound for 8 separate vectors, n = 150 and 12 steps gives 1/(1 − 0.059) = 1.063.
    expect(bounds[11].mu / bounds[11].xi).toBeLessThan(1.063)
  })

  test('a complement that is used up is known exactly', () => {
    const bounds = boundsOf([4, 3, 2, 1, 0.5], 2, 5, 1e-9, 1)
    expect(bounds).toHaveLength(1)
    expect(bounds[0].mu).toBeCloseTo(2, 13)
    expect(bounds[0].xi).toBe(bounds[0].mu)
  })
})

test('P(χ² < t) of 8 degrees of freedom is at most what was asked for, and little less', () => {
  for (const probability of [1e-9, 1e-6, 1e-3]) {
    const x = smallChiSquare(probability) / 2
    const exact = 1 - Math.exp(-x) * (1 + x + (x * x) / 2 + (x * x * x) / 6)
    const series = (x ** 4 / 24) * (1 - (4 * x) / 5 + (x * x) / 3)
    const truth = probability < 1e-5 ? series : exact
    expect(truth).toBeLessThanOrEqual(probability)
    expect(truth).toBeGreaterThan(0.4 * probability)
  }
})
