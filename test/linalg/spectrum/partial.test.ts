import fc from 'fast-check'
import { expect, test } from 'vitest'
import { chooseRank, type RankLimits, type RankRule, rankRange } from '../../../src/linalg/spectrum/rules.ts'

const spectrum = fc
  .array(fc.double({ min: 0.01, max: 10, noNaN: true }), { minLength: 1, maxLength: 12 })
  .map((values) => Float64Array.from(values).sort().reverse())

const rule: fc.Arbitrary<RankRule> = fc.oneof(
  fc.integer({ min: 1, max: 15 }).map((rank) => ({ kind: 'rank' as const, rank })),
  fc.double({ min: 0.01, max: 1, noNaN: true }).map((energy) => ({ kind: 'energy' as const, energy })),
  fc.double({ min: 0, max: 0.99, noNaN: true }).map((error) => ({ kind: 'error' as const, error })),
  fc.double({ min: 0, max: 11, noNaN: true }).map((floor) => ({ kind: 'noise-floor' as const, floor })),
)

const limits: fc.Arbitrary<RankLimits> = fc.record(
  {
    minRank: fc.integer({ min: 1, max: 5 }),
    maxRank: fc.integer({ min: 5, max: 12 }),
    multipleOf: fc.integer({ min: 1, max: 4 }),
  },
  { requiredKeys: [] },
)

const totalOf = (S: Float64Array) => S.reduceRight((sum, s) => sum + s * s, 0)

test('the range holds what all singular values would choose, however little is known', () => {
  fc.assert(
    fc.property(
      spectrum,
      rule,
      limits,
      fc.nat(12),
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 12, maxLength: 12 }),
      fc.double({ min: 1, max: 3, noNaN: true }),
      (S, rule, limits, count, losses, looseness) => {
        const known = Math.min(count, S.length)
        const theta = S.slice(0, known).map((s, i) => s * s * (1 - 0.3 * losses[i]))
        const excess = (r: number) => {
          let sum = 0
          for (let i = 0; i < r; i++) sum += S[i] * S[i] - theta[i]
          return looseness * sum
        }
        const beyond = (r: number) => looseness * (S[r] ?? 0) ** 2
        const total = totalOf(S)
        const range = rankRange(rule, limits, {
          order: S.length,
          total,
          theta,
          excess,
          ...(losses[11] < 0.5 ? { beyond } : {}),
          rounding: 1e-13 * total,
        })
        const chosen = chooseRank(S, rule, limits)
        expect(range.atLeast).toBeLessThanOrEqual(chosen)
        expect(range.atMost).toBeGreaterThanOrEqual(chosen)
      },
    ),
    { numRuns: 3000 },
  )
})

test('the range is a point where the leading values are exact and enough', () => {
  fc.assert(
    fc.property(spectrum, fc.double({ min: 0.1, max: 0.98, noNaN: true }), limits, (S, energy, limits) => {
      const rule = { kind: 'energy', energy } as const
      const r = chooseRank(S, rule)
      const total = totalOf(S)
      const theta = S.slice(0, r).map((s) => s * s)
      const known = { order: S.length, total, theta, excess: () => 0, rounding: 1e-13 * total }
      const rank = chooseRank(S, rule, limits)
      // Within rounding of the threshold the range is right to stay open.
      const tail = (count: number) => S.slice(count).reduce((sum, s) => sum + s * s, 0)
      fc.pre([r - 1, r].every((count) => Math.abs(tail(count) - (1 - energy) * total) > 1e-12 * total))
      expect(rankRange(rule, limits, known)).toEqual({ atLeast: rank, atMost: rank })
    }),
  )
})

test('a floor between values is decided by a bound that lies below it, and open without one', () => {
  const known = {
    order: 100,
    total: 100,
    theta: Float64Array.of(9, 4, 1),
    excess: () => 0,
    rounding: 1e-12,
  }
  const beyond = (r: number) => [9, 5, 1.5, 1.2][r]
  const rule = { kind: 'noise-floor', floor: 1.5 } as const
  expect(rankRange(rule, {}, { ...known, beyond })).toEqual({ atLeast: 2, atMost: 2 })
  expect(rankRange(rule, {}, known)).toEqual({ atLeast: 2, atMost: 100 })
  expect(rankRange({ ...rule, floor: 0.5 }, {}, { ...known, beyond })).toEqual({ atLeast: 3, atMost: 100 })
})

test('a highest rank below what the rule needs decides it early', () => {
  const known = {
    order: 100,
    total: 100,
    theta: new Float64Array(20).fill(1),
    excess: () => 0,
    rounding: 1e-12,
  }
  const rule = { kind: 'energy', energy: 0.9 } as const
  expect(rankRange(rule, {}, known)).toEqual({ atLeast: 21, atMost: 100 })
  expect(rankRange(rule, { maxRank: 16 }, known)).toEqual({ atLeast: 16, atMost: 16 })
})
