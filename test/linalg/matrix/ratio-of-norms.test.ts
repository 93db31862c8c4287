import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ratioOfNorms } from '../../../src/linalg/matrix/norms.ts'

test('is √(Σ parts² / Σ wholes²), whatever power of two both are multiplied by', () => {
  const some = fc.array(fc.double({ min: 0.01, max: 9, noNaN: true }), { minLength: 1, maxLength: 6 })
  fc.assert(
    fc.property(some, some, fc.integer({ min: -1000, max: 1000 }), (parts, wholes, power) => {
      const squares = (values: readonly number[]) => values.reduce((sum, x) => sum + x * x, 0)
      const scaled = (values: readonly number[]) => values.map((x) => x * 2 ** power)
      const expected = Math.sqrt(squares(parts) / squares(wholes))
      expect(ratioOfNorms(parts, wholes) / expected).toBeCloseTo(1, 12)
      expect(ratioOfNorms(scaled(parts), scaled(wholes)) / expected).toBeCloseTo(1, 12)
    }),
  )
})

test('of nothing, of zeros and of infinities', () => {
  const { POSITIVE_INFINITY: inf } = Number
  expect(ratioOfNorms([], [])).toBe(0)
  expect(ratioOfNorms([0], [0])).toBe(0)
  expect(ratioOfNorms([1], [0])).toBe(inf)
  expect(ratioOfNorms([inf, 1], [2, 2])).toBe(inf)
  expect(ratioOfNorms([1], [inf])).toBe(0)
  expect(ratioOfNorms([Number.NaN], [1])).toBeNaN()
})
