import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  effectiveRankOf,
  energyRanks,
  errorAt,
  numericalRankOf,
  rankAbove,
  stableRankOf,
} from '../../../src/linalg/spectrum/measures.ts'
import {
  effectiveRank,
  energyRank,
  numericalRank,
  optimalError,
  stableRank,
} from '../../../src/linalg/spectrum/ranks.ts'
import type { IntegerRange, Interval, Spectrum } from '../../../src/linalg/spectrum/spectrum.ts'

const EPSILON = 2 ** -23

const norm = (S: Float64Array) => Math.sqrt(S.reduceRight((sum, s) => sum + s * s, 0))

const complete = (S: Float64Array, rows = S.length, columns = S.length): Spectrum => ({
  rows,
  columns,
  frobenius: norm(S),
  singularValues: S,
  complete: true,
  excess: 0,
  next: { atLeast: 0, atMost: 0 },
  epsilon: EPSILON,
  method: 'full',
  failureProbability: 0,
})

/** The leading `count` values, each too low by a part of `loss`, with bounds too wide by `looseness`. */
function leading(S: Float64Array, count: number, losses: number[], looseness: number): Spectrum {
  const frobenius = norm(S)
  const given = S.slice(0, count).map((s, i) => s * Math.sqrt(1 - losses[i]))
  const kept = given.map((_, i) => Math.min(...given.subarray(0, i + 1)))
  const excesses = new Float64Array(count + 1)
  for (let i = 0; i < count; i++) {
    excesses[i + 1] = excesses[i] + (looseness * (S[i] ** 2 - kept[i] ** 2)) / frobenius ** 2
  }
  return {
    ...complete(S),
    frobenius,
    singularValues: kept,
    complete: false,
    excess: excesses[count],
    excesses,
    next: { atLeast: S[count] / looseness, atMost: S[count] * looseness },
    method: 'krylov',
  }
}

const values = fc
  .array(fc.oneof(fc.double({ min: 0.01, max: 10, noNaN: true }), fc.double({ min: 1e-9, max: 1e-6 })), {
    minLength: 3,
    maxLength: 14,
  })
  .map((list) => Float64Array.from(list).sort().reverse())

const partial = fc
  .tuple(
    values,
    fc.double({ min: 0, max: 0.99, noNaN: true }),
    fc.array(fc.double({ min: 0, max: 0.3, noNaN: true }), { minLength: 14, maxLength: 14 }),
    fc.double({ min: 1, max: 3, noNaN: true }),
  )
  .map(([S, part, losses, looseness]) => {
    const count = 1 + Math.floor(part * (S.length - 1))
    return { S, count, s: leading(S, count, losses, looseness) }
  })

const expectHolds = (range: IntegerRange | Interval, truth: number, slack = 0) => {
  expect(range.atLeast).toBeLessThanOrEqual(truth + slack)
  expect(range.atMost).toBeGreaterThanOrEqual(truth - slack)
}

test('the ranges of a leading spectrum hold what all singular values say', () => {
  fc.assert(
    fc.property(
      partial,
      fc.double({ min: 0.01, max: 1, noNaN: true }),
      fc.double({ min: 1e-3, max: 1.5, noNaN: true }),
      ({ S, s }, share, part) => {
        for (let r = 0; r <= S.length + 1; r++) expectHolds(errorAt(s, r), optimalError(S, r), 1e-12)
        expectHolds(energyRanks(s, share), energyRank(S, share))
        expectHolds(numericalRankOf(s), numericalRank(S, S.length, S.length, EPSILON))
        const floor = part * S[0]
        expectHolds(rankAbove(s, floor), S.filter((x) => x > floor).length)
      },
    ),
    { numRuns: 1000 },
  )
})

test('one bound for all ranks is enough', () => {
  fc.assert(
    fc.property(partial, fc.double({ min: 0.01, max: 0.99, noNaN: true }), ({ S, s }, share) => {
      const { excesses, ...one } = s
      for (let r = 0; r <= S.length; r++) {
        expectHolds(errorAt(one, r), optimalError(S, r), 1e-12)
        expect(errorAt(one, r).atLeast).toBeLessThanOrEqual(errorAt(s, r).atLeast)
      }
      expectHolds(energyRanks(one, share), energyRank(S, share))
    }),
  )
})

test('exact leading values decide all that lies among them', () => {
  fc.assert(
    fc.property(partial, fc.double({ min: 0.05, max: 0.95, noNaN: true }), ({ S, count }, share) => {
      const s = leading(S, count, Array(14).fill(0), 1)
      for (let r = 0; r <= count; r++) {
        const { atLeast, atMost } = errorAt(s, r)
        // √ of a difference that float64 can't tell from 0
        expect(atMost - atLeast).toBeLessThan(1e-6)
      }
      const rank = energyRank(S, share)
      const total = norm(S) ** 2
      const tail = (r: number) => S.slice(r).reduce((sum, x) => sum + x * x, 0) / total
      fc.pre(rank <= count && [rank - 1, rank].every((r) => Math.abs(tail(r) - (1 - share)) > 1e-12))
      expect(energyRanks(s, share)).toEqual({ atLeast: rank, atMost: rank })
      const floor = (S[count - 1] + S[count]) / 2
      // float64 sums of squares tell values apart that differ by more than √ε of the norm
      fc.pre(S[count - 1] - S[count] > 1e-5 * norm(S))
      expect(rankAbove(s, floor)).toEqual({ atLeast: count, atMost: count })
    }),
  )
})

test('a complete spectrum says what its values say', () => {
  fc.assert(
    fc.property(values, fc.double({ min: 0.01, max: 1, noNaN: true }), (S, share) => {
      const s = complete(S)
      const rank = energyRank(S, share)
      expect(energyRanks(s, share)).toEqual({ atLeast: rank, atMost: rank })
      expect(errorAt(s, 2)).toEqual({ atLeast: optimalError(S, 2), atMost: optimalError(S, 2) })
      expect(stableRankOf(s)).toEqual({ atLeast: stableRank(S), atMost: stableRank(S) })
      expect(effectiveRankOf(s)).toBe(effectiveRank(S))
    }),
  )
})

test('values that a product of factors leaves out are zero', () => {
  const s = { ...complete(Float64Array.of(4, 3), 1000, 500), method: 'factors' as const }
  expect(errorAt(s, 1).atMost).toBeCloseTo(0.6, 12)
  for (const r of [2, 3, 500, 2000]) expect(errorAt(s, r)).toEqual({ atLeast: 0, atMost: 0 })
  expect(numericalRankOf(s)).toEqual({ atLeast: 2, atMost: 2 })
  expect(energyRanks(s, 1)).toEqual({ atLeast: 2, atMost: 2 })
  expect(rankAbove(s, 0)).toEqual({ atLeast: 2, atMost: 2 })
  expect(stableRankOf(s).atMost).toBeCloseTo(25 / 16, 12)
})

test.each([
  ['no entries', complete(new Float64Array(0), 0, 7)],
  ['zeros', complete(new Float64Array(3), 3, 7)],
  ['zeros of which one is given', { ...complete(new Float64Array(1), 300, 700) }],
])('a matrix of %s has rank 0 in every sense', (_, s) => {
  const zero = { atLeast: 0, atMost: 0 }
  expect(errorAt(s, 0)).toEqual(zero)
  expect(energyRanks(s, 0.99)).toEqual(zero)
  expect(numericalRankOf(s)).toEqual(zero)
  expect(rankAbove(s, 0)).toEqual(zero)
  expect(stableRankOf(s)).toEqual(zero)
  expect(effectiveRankOf(s)).toBe(0)
})

test('energy beyond the values given says how many more there are at least, and at most', () => {
  // 100 values of 1, of which 10 are given, and nothing is above 1.
  const S = new Float64Array(100).fill(1)
  const s = leading(S, 10, Array(100).fill(0), 1)
  expect(energyRanks(s, 0.905)).toEqual({ atLeast: 91, atMost: 91 })
  expect(rankAbove(s, 0.5)).toEqual({ atLeast: 100, atMost: 100 })
  expect(numericalRankOf(s)).toEqual({ atLeast: 100, atMost: 100 })
  expect(errorAt(s, 50).atLeast).toBeCloseTo(Math.sqrt(0.5), 12)
  expect(errorAt(s, 50).atMost).toBeCloseTo(Math.sqrt(0.5), 12)
  expect(effectiveRankOf(s)).toBeUndefined()
})
