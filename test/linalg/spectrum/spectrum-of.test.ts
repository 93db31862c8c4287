import { expect, test } from 'vitest'
import type { HalfMatrix } from '../../../src/linalg/engine.ts'
import {
  type Matrix,
  matrix,
  toFloat32,
  toFloat64,
  transpose,
  zeros,
} from '../../../src/linalg/matrix/matrix.ts'
import {
  energyRanks,
  errorAt,
  numericalRankOf,
  rankAbove,
  roundingLevelOf,
  spectralOf,
  stableRankOf,
  valueAt,
} from '../../../src/linalg/spectrum/measures.ts'
import { energyRank, numericalRank, optimalError, stableRank } from '../../../src/linalg/spectrum/ranks.ts'
import type { Interval, Spectrum } from '../../../src/linalg/spectrum/spectrum.ts'
import { spectrumOf, spectrumOfFactors } from '../../../src/linalg/spectrum/spectrum.ts'
import { engines, wasmEngine } from '../truncation/engines.ts'
import { asBfloat16, gaussian, withSpectrum } from '../truncation/support.ts'

const leading = (A: Matrix | HalfMatrix, count: number, name = '', floor?: number) =>
  spectrumOf(A, {
    engine: wasmEngine,
    extent: { kind: 'leading', count },
    name,
    ...(floor === undefined ? {} : { floor }),
  })
const full = (A: Matrix | HalfMatrix) => spectrumOf(A, { engine: wasmEngine, extent: { kind: 'full' } })

/** Of the reference, relative to the largest singular value. */
const FULL_SVD_ERROR = 1e-12

/** Whatever a leading spectrum says holds for the full one. */
function expectToHold(s: Spectrum, all: Spectrum): void {
  const S = all.singularValues
  const slack = 4 * s.epsilon * S[0]
  expect(s.frobenius / all.frobenius).toBeCloseTo(1, 12)
  s.singularValues.forEach((value, i) => {
    if (value > roundingLevelOf(s)) expect(value).toBeLessThanOrEqual(S[i] + slack)
    if (i > 0) expect(value).toBeLessThanOrEqual(s.singularValues[i - 1])
  })
  const expectWithin = (truth: number, { atLeast, atMost }: Interval) => {
    expect(atLeast).toBeLessThanOrEqual(truth * (1 + FULL_SVD_ERROR))
    expect(atMost).toBeGreaterThanOrEqual(truth * (1 - FULL_SVD_ERROR))
  }
  expectWithin(S[0], spectralOf(s))
  expectWithin(stableRank(S), stableRankOf(s))
  for (let i = 0; i < s.singularValues.length; i++) {
    // a float64 SVD is off by as much of the largest value
    const truth = S[i] < FULL_SVD_ERROR * S[0] ? 0 : S[i]
    expectWithin(truth, valueAt(s, i))
    expect(s.singularValues[i] - roundingLevelOf(s)).toBeLessThanOrEqual(truth)
    if (i > 0) expect(valueAt(s, i).atMost).toBeLessThanOrEqual(valueAt(s, i - 1).atMost)
  }
  for (const r of [0, 1, 2, 5, 16, 20, 40, 80, 160, S.length]) {
    const error = optimalError(S, r)
    const { atLeast, atMost } = errorAt(s, r)
    expect(atLeast).toBeLessThanOrEqual(error + 1e-7)
    expect(atMost).toBeGreaterThanOrEqual(error - 1e-9)
  }
  for (const share of [0.1, 0.5, 0.9, 0.95, 0.99]) {
    const { atLeast, atMost } = energyRanks(s, share)
    expect(atLeast).toBeLessThanOrEqual(energyRank(S, share))
    expect(atMost).toBeGreaterThanOrEqual(energyRank(S, share))
  }
  for (const floor of [0.9, 0.5, 0.1, 1e-3].map((part) => part * S[0] * 1.0001)) {
    const { atLeast, atMost } = rankAbove(s, floor)
    const truth = S.filter((x) => x > floor).length
    expect(atLeast).toBeLessThanOrEqual(truth)
    expect(atMost).toBeGreaterThanOrEqual(truth)
  }
  const rank = numericalRank(S, s.rows, s.columns, s.epsilon)
  expect(numericalRankOf(s).atLeast).toBeLessThanOrEqual(rank)
  expect(numericalRankOf(s).atMost).toBeGreaterThanOrEqual(rank)
}

const spectra: readonly (readonly [string, (i: number) => number])[] = [
  ['ten values above noise', (i) => (i < 10 ? 10 - i / 2 : 0.2 - 0.0005 * i)],
  ['a slow power law', (i) => (i + 1) ** -0.6],
  ['a fast power law', (i) => (i + 1) ** -2],
  ['a geometric fall', (i) => 0.9 ** i],
  ['a flat spectrum', () => 1],
]

test.each(spectra)('%s: the leading values hold for all, in every type and shape', (_, f) => {
  const order = 288
  const A = withSpectrum(
    400,
    order,
    Array.from({ length: order }, (_, i) => f(i)),
    11,
  )
  for (const [stored, exact] of [
    [A, A],
    [toFloat32(A), toFloat32(A)],
    [transpose(toFloat32(A)), toFloat32(A)],
  ]) {
    const s = leading(stored, 20)
    expect(s.method).toBe('krylov')
    expect(s.singularValues).toHaveLength(20)
    expectToHold(s, full(toFloat64(exact)))
  }
})

test.each([
  ['Gaussian', 300, 500, 8],
  ['Gaussian', 420, 420, 8],
  ['Gaussian', 500, 300, 16],
  ['of rank 5', 360, 300, 8],
  ['of rank 5', 300, 500, 16],
] as const)(
  'every singular value of a %s matrix %i × %i lies between the bounds, with %i given',
  (kind, m, n, count) => {
    for (const seed of [1, 2]) {
      const S = Float64Array.from({ length: Math.min(m, n) }, (_, i) => (i < 5 ? 5 - i / 2 : 0))
      const A = kind === 'Gaussian' ? gaussian(m, n, seed) : withSpectrum(m, n, S, seed)
      for (const stored of [A, toFloat32(A), asBfloat16(A)]) {
        const s = leading(stored, count)
        expect(s.complete).toBe(false)
        expectToHold(s, full(stored))
      }
    }
  },
)

test('in a flat spectrum the values given are far below the truth, and said to be no more than lower bounds', () => {
  const A = toFloat32(gaussian(512, 512, 3))
  const [s, all] = [leading(A, 8), full(A)]
  expect(s.singularValues[7]).toBeLessThan(0.95 * all.singularValues[7])
  const { atLeast, atMost } = stableRankOf(s)
  expect(atMost / atLeast).toBeGreaterThan(1.1)
  // where values stand out both ends agree
  const spikes = withSpectrum(
    400,
    300,
    Float64Array.from({ length: 300 }, (_, i) => (i < 8 ? 9 - i : 0.1)),
    2,
  )
  for (let i = 0; i < 8; i++) {
    const known = valueAt(leading(spikes, 16), i)
    expect(known.atMost / known.atLeast).toBeLessThan(1 + 1e-5)
  }
})

test('a low-rank delta with noise in bfloat16: rank and energy ranks are decided', () => {
  const s = Float64Array.from({ length: 300 }, (_, i) => (i < 8 ? 8 - i / 2 : 0.02))
  const A = asBfloat16(withSpectrum(512, 300, s, 5))
  const found = leading(A, 24)
  expectToHold(found, full(A))
  expect(rankAbove(found, 0.3)).toEqual({ atLeast: 8, atMost: 8 })
  for (const share of [0.5, 0.9, 0.95, 0.99]) {
    const rank = energyRank(full(A).singularValues, share)
    expect(energyRanks(found, share)).toEqual({ atLeast: rank, atMost: rank })
  }
  const { atLeast, atMost } = errorAt(found, 4)
  expect(atMost / atLeast - 1).toBeLessThan(1e-4)
})

test('a floor a little above the noise is decided, where the values reach below it', () => {
  // The largest singular value of noise of variance v is √v·(√m + √n), here 1.
  const [m, n] = [600, 400]
  const noise = gaussian(m, n, 9).data.map((x) => x / (Math.sqrt(m) + Math.sqrt(n)))
  for (const rank of [0, 7]) {
    const signal = withSpectrum(
      m,
      n,
      Float64Array.from({ length: n }, (_, i) => (i < rank ? 1.6 + 0.2 * i : 0)),
      4,
    )
    const A = toFloat32(
      matrix(
        m,
        n,
        signal.data.map((x, i) => x + noise[i]),
      ),
    )
    const found = leading(A, 24, '', 1.25)
    expectToHold(found, full(A))
    expect(rankAbove(found, 1.25)).toEqual({ atLeast: rank, atMost: rank })
    // Without the floor the bound of the rest need not be as close.
    expect(rankAbove(leading(A, 24), 1.25).atLeast).toBe(rank)
    // Values that all lie above the floor say nothing of it.
    expectToHold(leading(A, 4, '', 0.01), full(A))
  }
})

test('an exact product of rank 6 has numerical rank 6', () => {
  const values = Float64Array.from({ length: 300 }, (_, i) => (i < 6 ? 1 / (i + 1) : 0))
  const A = withSpectrum(400, 300, values, 3)
  for (const stored of [A, toFloat32(A)]) {
    const s = leading(stored, 16)
    expect(s.method).toBe('krylov')
    // by no luck of the start
    for (let k = 0; k < 8; k++) expect(errorAt(leading(stored, 16, `name ${k}`), 6).atMost).toBeLessThan(1e-6)
    expect(s.singularValues[5] * 6).toBeCloseTo(1, 6)
    // A Gram matrix doesn't resolve what float64 calls zero, and the range says so.
    const isFloat32 = s.epsilon === 2 ** -23
    expect(numericalRankOf(s)).toEqual({ atLeast: 6, atMost: isFloat32 ? 6 : 300 })
    expect(numericalRankOf(full(stored))).toEqual({ atLeast: 6, atMost: 6 })
  }
})

test('the size of entries does not matter', () => {
  const A = toFloat32(
    withSpectrum(
      320,
      300,
      Array.from({ length: 300 }, (_, i) => 1 / (i + 1)),
      8,
    ),
  )
  const s = leading(A, 12)
  for (const factor of [2 ** 100, 2 ** -100]) {
    const scaled = leading(matrix(320, 300, A.data.map((x) => x * factor) as Float32Array), 12)
    expect(Array.from(scaled.singularValues, (x) => x / factor)).toEqual([...s.singularValues])
    expect(scaled.frobenius / factor).toBeCloseTo(s.frobenius, 6)
    expect(scaled.next.atMost / factor / s.next.atMost).toBeCloseTo(1, 4)
    expect(scaled.excess).toBeCloseTo(s.excess, 6)
  }
})

test('the same seed and name give the same bits, others other streams', () => {
  const A = toFloat32(gaussian(300, 280, 2))
  expect(leading(A, 8, 'q')).toEqual(leading(A, 8, 'q'))
  expect(leading(A, 8, 'q').singularValues).not.toEqual(leading(A, 8, 'k').singularValues)
})

test('matrices without much to compute', () => {
  expect(leading(zeros(0, 5), 4)).toMatchObject({ complete: true, frobenius: 0, rows: 0, columns: 5 })
  const zero = leading(toFloat32(zeros(300, 400)), 8)
  expect(zero).toMatchObject({ complete: true, frobenius: 0, excess: 0, next: { atLeast: 0, atMost: 0 } })
  expect(numericalRankOf(zero)).toEqual({ atLeast: 0, atMost: 0 })
  const row = leading(matrix(1, 5, Float32Array.of(3, 0, 4, 0, 0)), 4)
  expect(row).toMatchObject({ complete: true, frobenius: 5, method: 'full' })
  expect([...row.singularValues]).toEqual([5])
  const all = leading(toFloat32(gaussian(300, 280, 4)), 1000)
  expect(all.complete).toBe(true)
  expect(all.singularValues).toHaveLength(280)
  expect(leading(toFloat32(gaussian(300, 280, 4)), 0).singularValues).toHaveLength(1)
})

test('a NaN is refused', () => {
  const A = toFloat32(gaussian(300, 280, 4))
  A.data[77] = Number.NaN
  for (const see of [full, (X: Matrix) => leading(X, 8)]) {
    expect(() => see(A)).toThrow(expect.objectContaining({ code: 'not-finite' }))
  }
})

test.each(engines)('the spectrum of a product from its factors, %s engine', (_, engine) => {
  for (const [m, r, n] of [
    [40, 7, 30],
    [5, 7, 30],
    [40, 70, 30],
    [100, 80, 90],
    [1, 1, 1],
  ]) {
    const B = gaussian(m, r, 1)
    const A = gaussian(r, n, 2)
    const s = spectrumOfFactors(B, A, -0.5, engine)
    const S = engine.svd(engine.multiply(B, A), 'none').S.map((x) => x / 2)
    const count = Math.min(m, r, n)
    expect(s).toMatchObject({ rows: m, columns: n, complete: true, method: 'factors', epsilon: 2 ** -52 })
    expect(s.singularValues).toHaveLength(count)
    for (let i = 0; i < count; i++) expect(Math.abs(s.singularValues[i] - S[i])).toBeLessThan(1e-13 * S[0])
  }
  expect(spectrumOfFactors(toFloat32(gaussian(9, 2, 1)), gaussian(2, 9, 2), 1, engine).epsilon).toBe(2 ** -23)
  expect(spectrumOfFactors(gaussian(9, 2, 1), gaussian(2, 9, 2), 0, engine).frobenius).toBe(0)
  expect(() => spectrumOfFactors(gaussian(9, 2, 1), gaussian(3, 9, 2), 1, engine)).toThrow(RangeError)
})
