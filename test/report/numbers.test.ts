import fc from 'fast-check'
import { expect, test } from 'vitest'
import { bytes, grouped, percent, shape, short } from '../../src/text/numbers.ts'

test.each([
  [0, '0'],
  [-0, '0'],
  [12.903912345, '12.9039'],
  [-12.903912345, '-12.9039'],
  [100, '100'],
  [0.00123456, '0.00123456'],
  [0.00099999, '1e-3'],
  [0.0001, '1e-4'],
  [0.000012345, '1.23e-5'],
  [1234567.8, '1234570'],
  [9999999, '10000000'],
  [12345678, '1.23e+7'],
  [1.3e-16, '1.3e-16'],
  [5e-324, '4.94e-324'],
  [1.7976931348623157e308, '1.8e+308'],
  [Number.POSITIVE_INFINITY, 'Infinity'],
  [Number.NaN, 'NaN'],
])('short(%d) is %s', (x, text) => {
  expect(short(x)).toBe(text)
})

test('short keeps three significant digits at least, and is never longer than eleven characters', () => {
  fc.assert(
    // three digits of a number nearer to the largest double may read back as infinity
    fc.property(fc.double({ min: -1e308, max: 1e308, noNaN: true }), (x) => {
      expect(short(x).length).toBeLessThanOrEqual(11)
      if (Math.abs(x) > 1e-300) expect(Math.abs(Number(short(x)) / x - 1)).toBeLessThan(0.00501)
    }),
  )
})

test.each([
  [0, '0'],
  [999, '999'],
  [1000, '1,000'],
  [1234567, '1,234,567'],
  [Number.MAX_SAFE_INTEGER, '9,007,199,254,740,991'],
])('grouped(%d) is %s', (n, text) => {
  expect(grouped(n)).toBe(text)
})

test('shape groups digits', () => {
  expect(shape(128256, 4096)).toBe('128,256 × 4,096')
})

test.each([
  [0, '0 %'],
  [0.4, '40 %'],
  [0.79123, '79.1 %'],
  [0.00012345, '0.0123 %'],
  [1, '100 %'],
  [1.29167, '129 %'],
  [0.9994, '99.9 %'],
  [0.9996, '99.96 %'],
  [0.99985, '99.98 %'],
  [0.999995, '> 99.99 %'],
  [1 - 1e-15, '> 99.99 %'],
])('percent(%d) is %s', (share, text) => {
  expect(percent(share)).toBe(text)
})

test('percent says 100 % of the whole alone, and never more than that of a part', () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1, noNaN: true }), (share) => {
      expect(percent(share) === '100 %').toBe(share === 1)
    }),
  )
})

test.each([
  [0, '0 B'],
  [1, '1 B'],
  [1023, '1020 B'],
  [1024, '1 KiB'],
  [1536, '1.5 KiB'],
  [2 ** 20, '1 MiB'],
  [5.5 * 2 ** 30, '5.5 GiB'],
  [2 ** 50, '1020 TiB'],
])('bytes(%d) is %s', (count, text) => {
  expect(bytes(count)).toBe(text)
})
