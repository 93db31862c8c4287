import { describe, expect, test } from 'vitest'
import { toFloat32, toFloat64 } from '../../../src/linalg/matrix/matrix.ts'
import { truncatedSvd } from '../../../src/linalg/truncation/truncated-svd.ts'
import { wasmEngine as engine } from './engines.ts'
import { expectSound, gaussian, optimum, withSpectrum } from './support.ts'

const M = 300
const N = 200
/** Singular values of noise whose largest is about 1. */
const noise = engine.svd(gaussian(M, N, 11), 'none').S.map((s) => s / (Math.sqrt(M) + Math.sqrt(N)))

/** Spectrum, rank, and the width of the interval that must be reached. */
const cases: readonly (readonly [string, (i: number) => number, number, number])[] = [
  ['noise + 16 spikes', (i) => (i < 16 ? 4 - i / 8 : noise[i]), 16, 1.4e-6],
  ['noise + 16 spikes, into the noise', (i) => (i < 16 ? 4 - i / 8 : noise[i]), 32, 1e-2],
  ['i^-0.5', (i) => (i + 1) ** -0.5, 16, 5e-6],
  ['i^-0.7', (i) => (i + 1) ** -0.7, 32, 1.6e-6],
  ['i^-1', (i) => (i + 1) ** -1, 16, 1e-7],
  ['i^-2', (i) => (i + 1) ** -2, 16, 1e-4],
  ['0.9^i', (i) => 0.9 ** i, 16, 1e-7],
  ['Gaussian', (i) => noise[i], 16, 1.1e-2],
  ['identity', () => 1, 16, 1e-2],
  ['rank 16 and a tail of 1e-5', (i) => (i < 16 ? 1 : 1e-5 * noise[i]), 16, 4e-4],
]

describe('the interval closes without the full SVD', () => {
  test.each(cases)('%s', (_, spectrum, rank, goal) => {
    const A = toFloat32(
      withSpectrum(
        M,
        N,
        Array.from({ length: N }, (_, i) => spectrum(i)),
        5,
      ),
    )
    const result = truncatedSvd(A, { kind: 'rank', rank }, { engine, goal, largestShare: 1 })
    const full = engine.svd(A, 'thin')
    expectSound(toFloat64(A), result, full)
    expect(result.method).toBe('krylov')
    expect(result.certificate.closed).toBe(true)
    const { atLeast, atMost } = result.optimalError
    expect(atMost / atLeast - 1).toBeLessThanOrEqual(goal)
    expect(atMost / optimum(full, rank) - 1).toBeLessThanOrEqual(goal)
  })
})

test('an error below the rounding of the data is reported as such', () => {
  const A = toFloat32(
    withSpectrum(
      M,
      N,
      Array.from({ length: N }, (_, i) => (i < 3 ? 1 / (i + 1) : 0)),
      9,
    ),
  )
  for (const rank of [3, 10]) {
    const result = truncatedSvd(A, { kind: 'rank', rank }, { engine })
    expectSound(toFloat64(A), result, engine.svd(A, 'thin'))
    expect(result.certificate).toMatchObject({ closed: true, belowRounding: true })
    expect(result.optimalError.atMost).toBeLessThanOrEqual(4 * 2 ** -23)
  }
})

test('an interval that stays open says why, and is as narrow as the probe can make it', () => {
  const A = toFloat32(gaussian(400, 400, 3))
  const result = truncatedSvd(A, { kind: 'rank', rank: 30 }, { engine, goal: 1e-3, largestShare: 0.3 })
  expectSound(toFloat64(A), result, engine.svd(A, 'thin'))
  expect(result.certificate.closed).toBe(false)
  expect(result.certificate.reason).toMatch(
    /30th are too close together: with a basis of \d+ columns .* % wide/,
  )
  expect(result.optimalError.atMost / result.optimalError.atLeast - 1).toBeLessThan(0.1)
})

test('where that interval is not narrow enough the full SVD closes it', () => {
  const A = toFloat32(gaussian(200, 200, 3))
  const result = truncatedSvd(A, { kind: 'rank', rank: 30 }, { engine, goal: 1e-4 })
  expect(result.method).toBe('full')
  expect(result.certificate.closed).toBe(true)
  expectSound(toFloat64(A), result, engine.svd(A, 'thin'))
})
