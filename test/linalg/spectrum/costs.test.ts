import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type RankedMatrix, rankCosts, recommendedRank } from '../../../src/linalg/spectrum/costs.ts'
import type { Spectrum } from '../../../src/linalg/spectrum/spectrum.ts'

function matrixOf(
  rows: number,
  columns: number,
  S: number[],
  more: Partial<RankedMatrix> = {},
): RankedMatrix {
  const spectrum: Spectrum = {
    rows,
    columns,
    frobenius: Math.hypot(...S),
    singularValues: Float64Array.from(S),
    complete: true,
    excess: 0,
    next: { atLeast: 0, atMost: 0 },
    epsilon: 2 ** -23,
    method: 'full',
    failureProbability: 0,
  }
  return { spectrum, bytesPerEntry: 2, ...more }
}

const flat = (n: number) => Array<number>(n).fill(1)

test('costs add up over matrices; a matrix of lower order gets its order', () => {
  const matrices = [
    matrixOf(10, 4, [4, 2, 1, 1]),
    matrixOf(3, 2, [1, 1], { bytesPerEntry: 4 }),
    matrixOf(5, 5, []),
  ]
  const [one, four] = rankCosts(matrices, [1, 4])
  expect(one).toMatchObject({ rank: 1, parameters: 14 + 5 + 10, bytes: 28 + 20 + 20 })
  expect(one.relativeError.atMost).toBeCloseTo(Math.sqrt((4 + 1 + 1 + 1) / 24), 12)
  expect(four).toMatchObject({ parameters: 56 + 10 + 40, bytes: 112 + 40 + 80 })
  expect(four.relativeError).toEqual({ atLeast: 0, atMost: 0 })
  expect(rankCosts([], [8])).toEqual([
    { rank: 8, parameters: 0, bytes: 0, relativeError: { atLeast: 0, atMost: 0 } },
  ])
})

test('sizes that overflow when squared don’t matter', () => {
  const error = (scale: number) =>
    rankCosts([matrixOf(9, 9, [3 * scale, scale]), matrixOf(9, 9, [scale])], [1])[0].relativeError.atMost
  for (const scale of [1e200, 1e-200]) expect(error(scale)).toBeCloseTo(error(1), 12)
})

test('the error of the whole is that of the block diagonal matrix, each block cut at the rank', () => {
  const values = fc.array(fc.double({ min: 0.1, max: 9, noNaN: true }), { minLength: 1, maxLength: 6 })
  fc.assert(
    fc.property(
      fc.array(values, { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 0, max: 7 }),
      (blocks, r) => {
        const matrices = blocks.map((S) =>
          matrixOf(
            8,
            6,
            S.sort((a, b) => b - a),
          ),
        )
        const rest = blocks.flatMap((S) => S.slice(r))
        const expected = Math.hypot(...rest) / Math.hypot(...blocks.flat())
        expect(rankCosts(matrices, [r])[0].relativeError.atMost).toBeCloseTo(expected, 10)
      },
    ),
  )
})

test('the least rank that keeps 99 % is recommended', () => {
  // 1 % of the energy is one unit of 100
  const matrices = [matrixOf(64, 48, [7, 7, 1, 0.9]), matrixOf(64, 48, [0.05])]
  const { rank, reason } = recommendedRank(matrices)
  expect(rank).toBe(3)
  expect(reason).toBe(
    'Rank 3 is the least that keeps 99 % of the energy of all matrices; the relative error is 0.0901 at most.',
  )
  const kept = (r: number) => 1 - rankCosts(matrices, [r])[0].relativeError.atMost ** 2
  expect(kept(3)).toBeGreaterThanOrEqual(0.99)
  expect(kept(2)).toBeLessThan(0.99)
})

test('no more than stands above the noise is recommended', () => {
  const noise = { atLeast: 2, atMost: 2 }
  const S = [9, 5, ...flat(40)]
  const matrices = [
    matrixOf(640, 480, S, { rankAboveNoise: noise }),
    matrixOf(640, 480, [1], { rankAboveNoise: { atLeast: 0, atMost: 0 } }),
  ]
  expect(recommendedRank(matrices)).toMatchObject({
    rank: 2,
    reason: expect.stringContaining('No matrix has more than 2 directions above the rounding'),
  })
  // Of one it is not known: then the energy alone decides.
  expect(recommendedRank([...matrices, matrixOf(9, 9, [1])]).rank).toBe(41)
  const nothing = { rankAboveNoise: { atLeast: 0, atMost: 0 } }
  expect(recommendedRank([matrixOf(9, 9, [1], nothing)])).toEqual({
    reason: 'Nothing stands above the rounding of the stored numbers.',
  })
})

test('what is not low-rank gets no rank, but the figures', () => {
  expect(recommendedRank([matrixOf(100, 100, flat(100))])).toEqual({
    reason:
      'No rank is recommended: 99 % of the energy takes rank 99, and factors of rank 99 have 198 % of the matrices’ entries.',
  })
  expect(recommendedRank([matrixOf(4, 4, [])])).toEqual({
    reason: 'There is nothing to approximate: all matrices are zero.',
  })
})

test('a leading spectrum that leaves it open gives the range', () => {
  const spectrum: Spectrum = {
    ...matrixOf(1000, 1000, [5, 4]).spectrum,
    frobenius: Math.sqrt(41 + 900),
    complete: false,
    next: { atLeast: 1, atMost: 1.5 },
  }
  const { rank, reason } = recommendedRank([{ spectrum, bytesPerEntry: 2 }])
  expect(rank).toBeUndefined()
  expect(reason).toMatch(/takes a rank from \d+ to \d+, and factors/)
})
