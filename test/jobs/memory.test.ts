import { totalmem } from 'node:os'
import { expect, test } from 'vitest'
import { defaultMemory, memoryOf } from '../../src/jobs/schedule.ts'

const GIB = 2 ** 30

test.each([
  ['without a limit', 0, 8 * GIB],
  ['where a system can’t tell', undefined, 8 * GIB],
  ['with the largest number for no limit', 2 ** 63, 8 * GIB],
  ['in a container', 4 * GIB, 2 * GIB],
])('half the memory is for jobs, %s', (_, limit, expected) => {
  expect(memoryOf(16 * GIB, limit)).toBe(expected)
})

test('this machine has some', () => {
  expect(defaultMemory()).toBeGreaterThan(0)
  expect(defaultMemory()).toBeLessThanOrEqual(totalmem() / 2)
})
