import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseBytes } from '../../src/text/numbers.ts'

describe('a number of bytes', () => {
  test.each([
    ['1', 1],
    ['4096', 4096],
    ['12B', 12],
    ['512k', 512 * 1024],
    ['40MiB', 41_943_040],
    ['40 mib', 41_943_040],
    ['1.5GB', 1_500_000_000],
    ['2.3kB', 2300],
    ['2GiB', 2 ** 31],
    ['2G', 2 ** 31],
    ['.5T', 2 ** 39],
    ['1.TB', 1e12],
    [' 3KB ', 3000],
  ])('%s is %i', (text, bytes) => {
    expect(parseBytes(text)).toBe(bytes)
  })

  test.each([
    '',
    'MiB',
    '-1',
    '0',
    '0.4',
    '1e6',
    '1,5GB',
    '12 MB/s',
    '5iB',
    '1 PB',
    '0x10',
    'Infinity',
    '9e99',
  ])('%j is none', (text) => {
    expect(() => parseBytes(text)).toThrow('expected a number of bytes, such as 40MiB, 1.5GB or 512k')
  })

  test('of any whole number of units is exact', () => {
    const units = { B: 1, kB: 1e3, MB: 1e6, GB: 1e9, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 }
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1e6 }),
        fc.constantFrom(...Object.entries(units)),
        (count, [unit, size]) => {
          expect(parseBytes(`${count}${unit}`)).toBe(count * size)
        },
      ),
    )
  })
})
