import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import { figuresAt, modelOf, totalsAt } from '../../../src/commands/inspect/html/client/model.ts'
import {
  lastUpTo,
  rankGrid,
  ranksOf,
  reportData,
  tailAt,
  thinned,
} from '../../../src/commands/inspect/html/data.ts'
import type { Spectrum } from '../../../src/linalg/spectrum/spectrum.ts'
import { digitsDelta, errorOf, largeDelta, matrixOf, parametersOf, resultOf } from './results.ts'

/** What is known where only the first `given` of these are computed, each a little too small. */
function leading(values: readonly number[], given: number, short: number): Spectrum {
  const total = values.reduce((sum, s) => sum + s * s, 0)
  const S = Float64Array.from(values.slice(0, given), (s) => s * (1 - short))
  const missed = values.slice(0, given).reduce((sum, s, i) => sum + s * s - S[i] ** 2, 0)
  return {
    rows: values.length,
    columns: values.length + 3,
    frobenius: Math.sqrt(total),
    singularValues: S,
    complete: false,
    excess: missed / total,
    next: { atLeast: 0, atMost: Math.min(S[given - 1] / (1 - short), values[given]) },
    epsilon: 2 ** -23,
    method: 'krylov',
    failureProbability: 0,
  }
}

const spectra = fc
  .array(fc.double({ min: 1e-3, max: 1e3, noNaN: true }), { minLength: 3, maxLength: 40 })
  .map((values) => values.sort((a, b) => b - a))

describe('tails of a thinned spectrum', () => {
  it('hold the truth at every rank, carried or not, known or not', () => {
    fc.assert(
      fc.property(
        spectra,
        fc.double({ min: 0.1, max: 0.9, noNaN: true }),
        fc.double({ min: 0, max: 0.01, noNaN: true }),
        fc.integer({ min: 1, max: 4 }),
        (values, share, short, step) => {
          const given = Math.max(1, Math.floor(values.length * share))
          const spectrum = leading(values, given, short)
          const grid = Array.from({ length: given }, (_, i) => i * step + 1)
          const ranks = ranksOf(grid, given)
          const data = thinned(spectrum, ranks)
          const total = values.reduce((sum, s) => sum + s * s, 0)
          for (let r = 0; r <= values.length; r++) {
            const truth = values.slice(r).reduce((sum, s) => sum + s * s, 0) / total
            const { atLeast, atMost } = tailAt(data, ranks, r)
            // what is carried has seven digits
            expect(atLeast).toBeLessThanOrEqual(truth + 1e-6)
            expect(atMost).toBeGreaterThanOrEqual(truth - 1e-6)
          }
        },
      ),
    )
  })

  it('are exact at carried ranks of whole spectra', () => {
    const S = [8, 4, 2, 1, 0.5, 0.25]
    const { spectrum } = matrixOf({ name: 'A', shape: [6, 9], S })
    const data = thinned(spectrum, [1, 2, 3, 4, 5, 6])
    const total = S.reduce((sum, s) => sum + s * s, 0)
    for (let r = 0; r <= 6; r++) {
      const tail = S.slice(r).reduce((sum, s) => sum + s * s, 0) / total
      const { atLeast, atMost } = tailAt(data, [1, 2, 3, 4, 5, 6], r)
      expect(atLeast).toBe(atMost)
      expect(atMost).toBeCloseTo(tail, 7)
    }
    // between carried ranks it lies between their tails
    const thin = thinned(spectrum, [1, 4, 6])
    expect(tailAt(thin, [1, 4, 6], 2)).toEqual({ atLeast: thin.tail[1], atMost: thin.tail[0] })
  })

  it('are zero of a zero matrix', () => {
    const { spectrum } = matrixOf({ name: 'Z', shape: [3, 3], S: [0, 0, 0] })
    expect(tailAt(thinned(spectrum, [1, 2, 3]), [1, 2, 3], 1)).toEqual({ atLeast: 0, atMost: 0 })
  })

  it('are zero beyond the values of a product, which are all there are', () => {
    const { spectrum } = matrixOf({ name: 'BA', shape: [50, 40], S: [3, 2, 1] })
    const ranks = ranksOf([1, 2, 3], 3)
    expect(tailAt(thinned(spectrum, ranks), ranks, 10)).toEqual({ atLeast: 0, atMost: 0 })
  })
})

describe('carried ranks', () => {
  it('are all of them where there is room', () => {
    expect(rankGrid([5, 3])).toEqual([1, 2, 3, 4, 5])
    expect(rankGrid([4096])).toHaveLength(4096)
    expect(rankGrid([])).toEqual([])
  })

  it('are all up to 256 and denser than 5 % beyond, however much there is', () => {
    for (const count of [40, 224, 2000]) {
      const grid = rankGrid(Array.from({ length: count }, () => 4096))
      expect(grid.slice(0, 256)).toEqual(Array.from({ length: 256 }, (_, i) => i + 1))
      for (let i = 256; i < grid.length; i++) expect(grid[i] / grid[i - 1]).toBeLessThan(1.055)
      expect(grid.length).toBeLessThan(1300)
    }
  })

  it('end at the last known value', () => {
    expect(ranksOf([1, 2, 4, 8], 6)).toEqual([1, 2, 4, 6])
    expect(ranksOf([1, 2, 4, 8], 8)).toEqual([1, 2, 4, 8])
    expect(ranksOf([1, 2], 0)).toEqual([])
  })

  it('are found by bisection', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(50)), fc.integer({ min: -1, max: 51 }), (numbers, r) => {
        const ranks = numbers.sort((a, b) => a - b)
        expect(lastUpTo(ranks, r)).toBe(ranks.filter((rank) => rank <= r).length - 1)
      }),
    )
  })
})

describe('figures of the slider', () => {
  test('are those of the spectra, at every stop', () => {
    const { matrices } = digitsDelta()
    const model = modelOf(reportData(digitsDelta()))
    expect(model.stops[0]).toBe(1)
    expect(model.stops[model.stops.length - 1]).toBe(96)
    for (const rank of model.stops) {
      const { error, parameters, bytes } = totalsAt(model, rank)
      expect(error.atMost).toBe(error.atLeast)
      expect(error.atMost).toBeCloseTo(errorOf(matrices, rank), 6)
      expect(parameters).toBe(parametersOf(matrices, rank))
      expect(bytes).toBe(4 * parameters)
      for (const item of model.items) {
        const own = figuresAt(item, rank)
        const { shape } = item.matrix
        expect(own.error.atMost).toBeCloseTo(errorOf([matrices[item.index]], rank), 6)
        expect(own.parameters).toBe(Math.min(rank, ...shape) * (shape[0] + shape[1]))
        expect(own.share).toBe(own.parameters / (shape[0] * shape[1]))
      }
    }
  })

  test('agree with the costs that inspect tabulates', () => {
    const result = digitsDelta()
    const model = modelOf(reportData(result))
    for (const { rank, parameters, bytes, relativeError } of result.costs) {
      const totals = totalsAt(model, rank)
      expect([totals.parameters, totals.bytes]).toEqual([parameters, bytes])
      expect(totals.error.atMost).toBeCloseTo(relativeError.atMost, 6)
    }
  })

  test('have some two hundred stops for large matrices, and each power of two among them', () => {
    const { stops, maxRank } = modelOf(reportData(largeDelta(1)))
    expect(maxRank).toBe(4096)
    expect(stops.length).toBeLessThan(230)
    for (let rank = 1; rank <= 4096; rank *= 2) expect(stops).toContain(rank)
    expect(stops.slice(0, 64)).toEqual(Array.from({ length: 64 }, (_, i) => i + 1))
  })

  test('stay in range for norms whose squares do not', () => {
    const huge = matrixOf({ name: 'A', shape: [4, 4], S: [4, 3, 2, 1] })
    const scaled = {
      ...huge,
      spectrum: {
        ...huge.spectrum,
        frobenius: huge.spectrum.frobenius * 1e300,
        singularValues: huge.spectrum.singularValues.map((s) => s * 1e300),
      },
    }
    const [plain, large] = [huge, scaled].map(
      (m) => totalsAt(modelOf(reportData(resultOf([m]))), 2).error.atMost,
    )
    expect(large).toBeCloseTo(plain, 7)
  })
})
