import { expect, test } from 'vitest'
import { gain, joinAccounts, NOTHING_ROUNDED, roundingError } from '../../src/update/account.ts'

const account = (deltaSquared: number, kept: number, residualSquared: number) => ({
  deltaSquared,
  kept,
  residualSquared,
  entries: 6,
  changed: 5,
  overflowed: 2,
  nonFinite: 1,
})

test('accounts join by sums', () => {
  expect(joinAccounts([account(1, 2, 3), account(10, 20, 30)])).toEqual({
    deltaSquared: 11,
    kept: 22,
    residualSquared: 33,
    entries: 12,
    changed: 10,
    overflowed: 4,
    nonFinite: 2,
  })
  expect(joinAccounts([])).toEqual(NOTHING_ROUNDED)
})

test('the gain is the factor of Δ that is stored, the error what is left, both relative to Δ', () => {
  expect(gain(account(4, 3, 1))).toBe(0.75)
  expect(roundingError(account(4, 3, 1))).toBe(0.5)
})

test('where nothing is added nothing is lost', () => {
  expect(gain(NOTHING_ROUNDED)).toBe(1)
  expect(roundingError(NOTHING_ROUNDED)).toBe(0)
})
