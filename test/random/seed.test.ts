import fc from 'fast-check'
import { expect, test } from 'vitest'
import { LoraSvdError } from '../../src/errors.ts'
import { parseSeed, seedInteger } from '../../src/random/seedrandom.ts'

test.each([
  ['0', 0n],
  ['-0', 0n],
  ['+7', 7n],
  ['007', 7n],
  ['-1', -1n],
  ['18446744073709551616', 2n ** 64n],
])('parseSeed(%j) is %d', (text, expected) => {
  expect(parseSeed(text)).toBe(expected)
})

test('parseSeed reads back every integer', () => {
  fc.assert(fc.property(fc.bigInt(), (seed) => parseSeed(seed.toString()) === seed))
})

test.each(['', ' 1', '1 ', '1.0', '1e3', '0x10', '1_000', '--1', '-', 'abc', '٣', '1\n'])(
  'parseSeed(%j) is refused',
  (text) => {
    expect(() => parseSeed(text)).toThrow(
      new LoraSvdError(
        'bad-usage',
        `the seed must be a decimal integer such as 0 or -1, got ${JSON.stringify(text)}`,
      ),
    )
  },
)

test('a long wrong seed is not repeated in full', () => {
  expect(() => parseSeed('x'.repeat(1000))).toThrow(`got "${'x'.repeat(40)}…"`)
})

test('seedInteger takes bigints and safe integers', () => {
  expect(seedInteger(2n ** 70n)).toBe(2n ** 70n)
  expect(seedInteger(-5)).toBe(-5n)
  for (const seed of [0.5, Number.NaN, 2 ** 53]) expect(() => seedInteger(seed)).toThrow(LoraSvdError)
})
