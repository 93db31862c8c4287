import { expect, test } from 'vitest'
import {
  gain,
  joinAccounts,
  NOTHING_ROUNDED,
  type RoundingAccount,
  roundingError,
} from '../../src/update/account.ts'
import { estimated, isSure } from '../../src/update/estimate.ts'
import { numbers } from '../cli/extract-support.ts'

/** Rows of which Δ² varies, and the error either doesn't (fine rounding) or goes with it (all is lost). */
function rowsOf(count: number, isLost: boolean): RoundingAccount[] {
  const random = numbers(2 * count, 7)
  return Array.from({ length: count }, (_, i) => {
    const deltaSquared = 1 + 0.9 * random[2 * i]
    const noise = 1 + 0.02 * random[2 * i + 1]
    return {
      ...NOTHING_ROUNDED,
      ...{ deltaSquared, entries: 10 },
      kept: (isLost ? 0.1 : 0.99) * deltaSquared * noise,
      residualSquared: (isLost ? 0.9 * deltaSquared : 0.01) * noise,
    }
  })
}

test.each([false, true])('some rows tell of all, where ‖Δ‖² of all is known (all but lost: %s)', (isLost) => {
  const all = rowsOf(4096, isLost)
  const truth = joinAccounts(all)
  const batches = Array.from({ length: 16 }, (_, i) => joinAccounts(all.slice(4 * i, 4 * i + 4)))
  const share = 64 / 4096
  expect(isSure(batches, share, truth.deltaSquared)).toBe(true)
  const told = estimated(batches, share, truth.deltaSquared)
  expect(told.deltaSquared).toBe(truth.deltaSquared)
  expect(Math.abs(gain(told) - gain(truth)) / gain(truth)).toBeLessThan(0.02)
  expect(Math.abs(roundingError(told) - roundingError(truth)) / roundingError(truth)).toBeLessThan(0.02)
  expect(told.entries).toBe(truth.entries)
})

test('without that it takes more rows to be sure', () => {
  const all = rowsOf(4096, false)
  const batches = (count: number) =>
    Array.from({ length: count }, (_, i) => joinAccounts(all.slice(4 * i, 4 * i + 4)))
  expect(isSure(batches(16), 64 / 4096, undefined)).toBe(false)
  expect(isSure(batches(1024), 1, undefined)).toBe(true)
  const told = estimated(batches(1024), 1, undefined)
  expect(told).toEqual(joinAccounts(batches(1024)))
})

test('of a change that is none everything is known', () => {
  const batches = Array.from({ length: 8 }, () => ({ ...NOTHING_ROUNDED, entries: 10 }))
  expect(isSure(batches, 0.1, 0)).toBe(true)
  expect(estimated(batches, 0.1, 0)).toMatchObject({ deltaSquared: 0, kept: 0, residualSquared: 0 })
  expect(isSure(batches.slice(1), 0.1, 0)).toBe(false)
})
