import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type BudgetedMatrix, splitBudget } from '../../../src/linalg/spectrum/budget.ts'
import { type RankLimits, withinLimits } from '../../../src/linalg/spectrum/rules.ts'

const matrixOf = (name: string, values: number[], bytesPerRank: number, weight = 1): BudgetedMatrix => ({
  name,
  squares: Float64Array.from(values, (s) => s * s)
    .sort()
    .reverse(),
  bytesPerRank,
  weight,
})

/** Bytes with a header that spells the ranks out, and grows by their digits. */
const withHeader = (matrices: readonly BudgetedMatrix[]) => (ranks: readonly number[]) =>
  ranks.reduce((sum, rank, i) => sum + rank * matrices[i].bytesPerRank, 0) +
  JSON.stringify(ranks).length +
  JSON.stringify(ranks.map((rank, i) => rank * matrices[i].bytesPerRank)).length

const plain = (matrices: readonly BudgetedMatrix[]) => (ranks: readonly number[]) =>
  ranks.reduce((sum, rank, i) => sum + rank * matrices[i].bytesPerRank, 0)

/** Bytes with an entry for each rank that isn't the largest, and a line that goes where there are such: more ranks may take less. */
const withPatterns = (matrices: readonly BudgetedMatrix[]) => (ranks: readonly number[]) => {
  const others = ranks.filter((rank) => rank !== Math.max(...ranks))
  return withHeader(matrices)(ranks) + 23 * others.length + (others.length === 0 ? 9 : 0)
}

const ownBytes = (matrices: readonly BudgetedMatrix[], ranks: readonly number[]) => plain(matrices)(ranks)

const gain = (matrices: readonly BudgetedMatrix[], ranks: readonly number[]) =>
  matrices.reduce(
    (sum, { squares, weight }, i) => sum + weight * squares.subarray(0, ranks[i]).reduce((a, b) => a + b, 0),
    0,
  )

/** The ranks that the limits allow. */
const allowed = (order: number, limits: RankLimits) => [
  ...new Set(Array.from({ length: order + 1 }, (_, rank) => withinLimits(rank, order, limits))),
]

/** Every choice of ranks that fits. */
function* choices(
  matrices: readonly BudgetedMatrix[],
  limits: RankLimits,
  chosen: readonly number[] = [],
): Generator<readonly number[]> {
  if (chosen.length === matrices.length) {
    yield chosen
    return
  }
  for (const rank of allowed(matrices[chosen.length].squares.length, limits)) {
    yield* choices(matrices, limits, [...chosen, rank])
  }
}

const problem = fc.record({
  matrices: fc
    .array(
      fc.tuple(
        fc.array(fc.double({ min: 0, max: 9, noNaN: true }), { maxLength: 5 }),
        fc.integer({ min: 1, max: 40 }),
        fc.constantFrom(1, 0.25, 3),
      ),
      { minLength: 1, maxLength: 4 },
    )
    .map((list) => list.map(([values, bytes, weight], i) => matrixOf(`m${i}`, values, bytes, weight))),
  bytes: fc.integer({ min: 0, max: 400 }),
  limits: fc.record(
    {
      minRank: fc.integer({ min: 0, max: 3 }),
      maxRank: fc.integer({ min: 3, max: 5 }),
      multipleOf: fc.integer({ min: 1, max: 3 }),
    },
    { requiredKeys: [] },
  ),
})

test('no choice of ranks that fits gains more than the bound says', () => {
  fc.assert(
    fc.property(
      problem,
      fc.constantFrom(plain, withHeader, withPatterns),
      ({ matrices, ...budget }, size) => {
        const { bytes, limits } = budget
        const exactBytes = size(matrices)
        const all = [...choices(matrices, limits)]
        const fitting = all.filter((ranks) => exactBytes(ranks) <= bytes)
        const leastAside = Math.min(...all.map((ranks) => exactBytes(ranks) - ownBytes(matrices, ranks)))
        const result = splitBudget(matrices, { bytes, limits, exactBytes, leastAside })
        if ('needed' in result) {
          expect(exactBytes(matrices.map(({ squares }) => withinLimits(0, squares.length, limits)))).toBe(
            result.needed,
          )
          expect(result.needed).toBeGreaterThan(bytes)
          return
        }
        const best = Math.max(...fitting.map((ranks) => gain(matrices, ranks)))
        const found = gain(matrices, result.ranks)
        expect(result.bytes).toBe(exactBytes(result.ranks))
        expect(result.bytes).toBeLessThanOrEqual(bytes)
        result.ranks.forEach((rank, i) => {
          expect(allowed(matrices[i].squares.length, limits)).toContain(rank)
        })
        expect(best).toBeLessThanOrEqual(found + result.bound + 1e-9)
        // no collapse: one rank for all that fits is never better
        const equal = fitting.filter((ranks) => ranks.every((rank) => rank === ranks[0]))
        for (const ranks of equal) expect(gain(matrices, ranks)).toBeLessThanOrEqual(found + 1e-9)
      },
    ),
    { numRuns: 2000 },
  )
})

test('for equal costs the split is the best one, and the bound says so', () => {
  fc.assert(
    fc.property(problem, ({ matrices, bytes, limits }) => {
      const equal = matrices.map((matrix) => ({ ...matrix, bytesPerRank: 16 }))
      const exactBytes = plain(equal)
      const result = splitBudget(equal, { bytes, limits, exactBytes, leastAside: 0 })
      fc.pre(!('needed' in result))
      if ('needed' in result) return
      const fitting = [...choices(equal, limits)].filter((ranks) => exactBytes(ranks) <= bytes)
      const best = Math.max(...fitting.map((ranks) => gain(equal, ranks)))
      expect(gain(equal, result.ranks)).toBeCloseTo(best, 9)
      expect(result.bound).toBeLessThan(1e-9)
    }),
    { numRuns: 1000 },
  )
})

test('the order of the matrices doesn’t matter, nor do ties', () => {
  const matrices = [matrixOf('b', [3, 2, 2], 10), matrixOf('a', [3, 2, 2], 10), matrixOf('c', [3, 1], 10)]
  const split = (list: readonly BudgetedMatrix[], bytes: number) => {
    const budget = { bytes, limits: { minRank: 0 }, exactBytes: plain(list), leastAside: 0 }
    const result = splitBudget(list, budget)
    return 'needed' in result
      ? undefined
      : Object.fromEntries(list.map(({ name }, i) => [name, result.ranks[i]]))
  }
  for (const bytes of [0, 10, 20, 30, 40, 50, 60, 70, 80]) {
    expect(split([...matrices].reverse(), bytes)).toEqual(split(matrices, bytes))
  }
  expect(split(matrices, 20)).toEqual({ a: 1, b: 1, c: 0 })
})

test('what one matrix finds too small is spent on a cheaper one', () => {
  const matrices = [matrixOf('wide', [10, 9], 100), matrixOf('thin', [2, 1], 10)]
  const budget = { bytes: 125, limits: { minRank: 0 }, exactBytes: plain(matrices), leastAside: 0 }
  const result = splitBudget(matrices, budget)
  // wide's second rank has a density of 0.81, and does not fit; the bound is that of 25 bytes less what thin gained
  expect(result).toMatchObject({ ranks: [1, 2], bytes: 120 })
  expect('bound' in result && result.bound).toBeCloseTo(0.81 * 20 - 5, 12)
})

test('ranks that gain nothing are not bought', () => {
  const matrices = [matrixOf('low', [5, 4, 0, 0, 0], 10)]
  const budget = { bytes: 1000, limits: {}, exactBytes: plain(matrices), leastAside: 0 }
  expect(splitBudget(matrices, budget)).toEqual({ ranks: [2], bytes: 20, bound: 0 })
})

test('a budget below the least ranks says what they need', () => {
  const matrices = [matrixOf('a', [1, 1], 10), matrixOf('b', [1, 1], 20)]
  const budget = { bytes: 29, limits: {}, exactBytes: plain(matrices), leastAside: 0 }
  expect(splitBudget(matrices, budget)).toEqual({ needed: 30 })
  expect(splitBudget([], { ...budget, exactBytes: () => 0 })).toEqual({ ranks: [], bytes: 0, bound: 0 })
})

test('what the values that are given leave out is part of the bound', () => {
  const [known, other] = [matrixOf('a', [3], 10), matrixOf('b', [2, 1], 10)]
  const matrices = [{ ...known, unknown: { excess: 0.5, count: 4, square: 2 } }, other]
  const budget = { bytes: 30, limits: {}, exactBytes: plain(matrices), leastAside: 0 }
  // two ranks of b are taken, and one more of a might gain 2 + 0.5 where b's second gains 1
  const result = splitBudget(matrices, budget)
  expect(result).toMatchObject({ ranks: [1, 2], bytes: 30 })
  expect('bound' in result && result.bound).toBeGreaterThanOrEqual(1.5)
})
