import fc from 'fast-check'
import { expect, test } from 'vitest'
import { chooseRank, type RankRule } from '../../../src/linalg/spectrum/rules.ts'

const S = Float64Array.from({ length: 10 }, (_, i) => 0.5 ** i)

test.each<[RankRule, number]>([
  [{ kind: 'rank', rank: 4 }, 4],
  [{ kind: 'rank', rank: 99 }, 10],
  [{ kind: 'error', error: 0.2 }, 3],
  [{ kind: 'error', error: 0.999 }, 1],
  [{ kind: 'energy', energy: 0.99 }, 4],
  [{ kind: 'energy', energy: 1 }, 10],
  [{ kind: 'noise-floor', floor: 0.3 }, 2],
  [{ kind: 'noise-floor', floor: 0.25 }, 2],
  [{ kind: 'noise-floor', floor: 0 }, 10],
  [{ kind: 'noise-floor', floor: 2 }, 1],
])('%j of 1, 1/2, 1/4 … is %i', (rule, rank) => {
  expect(chooseRank(S, rule)).toBe(rank)
})

test.each([
  [{ multipleOf: 4 }, 4],
  [{ multipleOf: 8 }, 8],
  // 16 does not fit, and no multiple of 16 lies below
  [{ multipleOf: 16 }, 10],
  [{ maxRank: 2 }, 2],
  [{ maxRank: 7, multipleOf: 4 }, 4],
  [{ maxRank: 3, multipleOf: 4 }, 3],
  // 12 does not fit, and 8 is below the least
  [{ minRank: 9, multipleOf: 4 }, 10],
  [{ minRank: 5 }, 5],
  [{ minRank: 5, multipleOf: 3 }, 6],
])('an error of 0.2 takes 3; with %j %i', (limits, rank) => {
  expect(chooseRank(S, { kind: 'error', error: 0.2 }, limits)).toBe(rank)
})

test('nothing above the floor is rank 0 where the limits allow it', () => {
  expect(chooseRank(S, { kind: 'noise-floor', floor: 2 }, { minRank: 0 })).toBe(0)
  expect(chooseRank(S, { kind: 'noise-floor', floor: 2 }, { minRank: 0, multipleOf: 8 })).toBe(0)
})

test('a zero matrix has factors too', () => {
  expect(chooseRank(new Float64Array(3), { kind: 'energy', energy: 0.9 })).toBe(1)
})

test('stays within 1, the number of singular values and --max-rank, and grows with what is asked', () => {
  const limits = fc.record({
    maxRank: fc.integer({ min: 1, max: 20 }),
    multipleOf: fc.integer({ min: 1, max: 12 }),
  })
  const errors = fc.tuple(fc.double({ min: 1e-4, max: 0.99 }), fc.double({ min: 1e-4, max: 0.99 }))
  fc.assert(
    fc.property(errors, limits, ([one, other], { maxRank, multipleOf }) => {
      const rankFor = (error: number) => chooseRank(S, { kind: 'error', error }, { maxRank, multipleOf })
      const rank = rankFor(one)
      expect(rank).toBeGreaterThanOrEqual(1)
      expect(rank).toBeLessThanOrEqual(Math.min(S.length, maxRank))
      const highest = Math.min(S.length, maxRank)
      if (highest >= multipleOf) expect(rank % multipleOf).toBe(0)
      if (one <= other) expect(rank).toBeGreaterThanOrEqual(rankFor(other))
    }),
  )
})
