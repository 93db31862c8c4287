import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { epsilonOf } from '../../../src/linalg/matrix/matrix.ts'
import {
  effectiveRank,
  energyRank,
  errorRank,
  numericalRank,
  optimalError,
  rankTolerance,
  stableRank,
} from '../../../src/linalg/spectrum/ranks.ts'

const spectrum = (...values: number[]) => Float64Array.from(values)

/** Non-increasing non-negative numbers, the largest being 1. */
const spectra = fc
  .array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 })
  .map((values) => Float64Array.from([1, ...values.sort((a, b) => b - a)]))
const scales = fc.constantFrom(2 ** -900, 1, 2 ** 900)
const scaled = (S: Float64Array, scale: number) => S.map((s) => s * scale)

describe('numerical rank', () => {
  test('counts what exceeds S_max · max(d, k) · eps, as NumPy does', () => {
    const eps = epsilonOf.f64
    expect(eps).toBe(Number.EPSILON)
    expect(rankTolerance(spectrum(2, 1), 10, 3, eps)).toBe(20 * eps)
    // exactly at the tolerance does not count
    expect(numericalRank(spectrum(2, 20 * eps, 19 * eps), 10, 3, eps)).toBe(1)
    expect(numericalRank(spectrum(2, 20.1 * eps, 19 * eps), 10, 3, eps)).toBe(2)
    expect(numericalRank(spectrum(2, 1e-6, 1e-7), 3, 3, epsilonOf.f32)).toBe(2)
  })

  test('of zeros and of nothing is 0', () => {
    expect(numericalRank(spectrum(0, 0), 2, 2, epsilonOf.f64)).toBe(0)
    expect(numericalRank(spectrum(), 0, 5, epsilonOf.f64)).toBe(0)
  })
})

describe('stable and effective rank', () => {
  test.each([1, 2, 7])('of %i equal singular values are that many', (n) => {
    const S = new Float64Array(n).fill(3)
    expect(stableRank(S)).toBeCloseTo(n, 14)
    expect(effectiveRank(S)).toBeCloseTo(n, 12)
  })

  test('of a geometric series have closed forms', () => {
    const q = 0.5
    const S = Float64Array.from({ length: 200 }, (_, i) => q ** i)
    expect(stableRank(S)).toBeCloseTo(1 / (1 - q * q), 14)
    // entropy of p_i = (1−q)·qⁱ: −ln(1−q) − q·ln q / (1−q)
    expect(effectiveRank(S)).toBeCloseTo(Math.exp(-Math.log(1 - q) - (q * Math.log(q)) / (1 - q)), 12)
  })

  test('of zeros are 0', () => {
    expect([stableRank(spectrum(0, 0)), effectiveRank(spectrum(0, 0))]).toEqual([0, 0])
  })

  test('lie between 1 and the number of singular values, at any scale', () => {
    fc.assert(
      fc.property(spectra, scales, (S, scale) => {
        for (const rank of [stableRank(scaled(S, scale)), effectiveRank(scaled(S, scale))]) {
          expect(rank).toBeGreaterThan(1 - 1e-12)
          expect(rank).toBeLessThan(S.length + 1e-9)
        }
      }),
    )
  })
})

describe('ranks by energy and by error', () => {
  // energies 16/30, 25/30 … of 4, 3, 2, 1
  const S = spectrum(4, 3, 2, 1)

  test.each([
    [0.5, 1],
    [16 / 30 + 1e-12, 2],
    [25 / 30 - 1e-12, 2],
    [0.9, 3],
    [29 / 30 + 1e-12, 4],
    [1, 4],
  ])('energy %d takes %i of 4, 3, 2, 1', (energy, rank) => {
    expect(energyRank(S, energy)).toBe(rank)
  })

  test.each([
    [0.99, 1],
    [0.5, 2],
    [Math.sqrt(5 / 30) + 1e-12, 2],
    [Math.sqrt(5 / 30) - 1e-12, 3],
    [Math.sqrt(1 / 30) - 1e-12, 4],
    [0, 4],
  ])('error %d takes %i of 4, 3, 2, 1', (error, rank) => {
    expect(errorRank(S, error)).toBe(rank)
  })

  test('ties of equal values are those of whole numbers, though values and shares are rounded', () => {
    for (const n of [3, 10, 49, 64, 100, 300, 1000]) {
      // values as an SVD finds them, off by some units
      const S = Float64Array.from({ length: n }, (_, i) => 7 * (1 + ((i * 7) % 11) * 2 ** -52))
        .sort()
        .reverse()
      for (let k = 1; k < n; k++) {
        expect([n, k, energyRank(S, k / n), energyRank(S, 1 - (n - k) / n)]).toEqual([n, k, k, k])
        expect([n, k, errorRank(S, Math.sqrt(1 - k / n)), errorRank(S, Math.sqrt((n - k) / n))]).toEqual([
          n,
          k,
          k,
          k,
        ])
      }
    }
  })

  test('room for ties is none for what differs, nor where nothing may be left out', () => {
    const small = spectrum(1, 1e-9, 1e-10)
    expect(errorRank(small, 0.99e-9)).toBe(2)
    expect(errorRank(small, 0.99e-10)).toBe(3)
    expect([energyRank(small, 1), errorRank(small, 0)]).toEqual([3, 3])
    const S = spectrum(1, 1, 1, 1)
    expect(energyRank(S, 0.5 + 1e-12)).toBe(3)
    expect(errorRank(S, Math.sqrt(0.5) - 1e-12)).toBe(3)
  })

  test('of zeros is 0, and their optimal error is 0', () => {
    const zeros = spectrum(0, 0)
    expect([energyRank(zeros, 0.9), errorRank(zeros, 0.1), optimalError(zeros, 1)]).toEqual([0, 0, 0])
  })

  test('optimalError is the root of the share left out; nothing is left out past the end', () => {
    expect(optimalError(S, 0)).toBe(1)
    expect(optimalError(S, 1)).toBeCloseTo(Math.sqrt(14 / 30), 15)
    expect(optimalError(S, 3)).toBeCloseTo(Math.sqrt(1 / 30), 15)
    expect([optimalError(S, 4), optimalError(S, 9)]).toEqual([0, 0])
  })

  test('a small tail keeps its digits beside a large head', () => {
    const tail = spectrum(1, ...new Array(100).fill(1e-12))
    expect(optimalError(tail, 1) / (1e-12 * Math.sqrt(100))).toBeCloseTo(1, 12)
  })

  test('are the least that do, by brute force, at any scale', () => {
    const share = fc.double({ min: 1e-6, max: 1 - 1e-6, noNaN: true })
    fc.assert(
      fc.property(spectra, scales, share, (values, scale, asked) => {
        const S = scaled(values, scale)
        const tail = (r: number) => values.slice(r).reduceRight((sum, s) => sum + (s / values[0]) ** 2, 0)
        const ranks = Array.from({ length: S.length + 1 }, (_, r) => r)
        const byError = ranks.find((r) => tail(r) <= asked ** 2 * tail(0))
        const byEnergy = ranks.find((r) => tail(r) <= (1 - asked) * tail(0))
        expect(errorRank(S, asked)).toBe(byError)
        expect(energyRank(S, asked)).toBe(byEnergy)
        expect(optimalError(S, byError!)).toBeLessThanOrEqual(asked * (1 + 1e-12))
      }),
    )
  })
})
