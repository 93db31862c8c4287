import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { LoraSvdError } from '../../../src/errors.ts'
import { allclose } from '../../../src/linalg/matrix/allclose.ts'

interface GoldenCase {
  name: string
  dtype: 'float32' | 'float64'
  rtol: number | string
  atol: number | string
  equalNan: boolean
  actual: (number | string)[]
  expected: (number | string)[]
  close: string
  allclose: boolean
}

const goldens: GoldenCase[] = JSON.parse(
  readFileSync(new URL('../../fixtures/allclose.json', import.meta.url), 'utf8'),
)
const toNumber = (x: number | string) =>
  typeof x === 'number'
    ? x
    : ({ nan: Number.NaN, inf: Number.POSITIVE_INFINITY }[x] ?? Number.NEGATIVE_INFINITY)
const toArray = (dtype: string, values: (number | string)[]) =>
  dtype === 'float32' ? Float32Array.from(values, toNumber) : Float64Array.from(values, toNumber)

test.each(goldens)('torch: $dtype $name, rtol $rtol, atol $atol, equalNan $equalNan', (golden) => {
  const actual = toArray(golden.dtype, golden.actual)
  const expected = toArray(golden.dtype, golden.expected)
  const options = { rtol: toNumber(golden.rtol), atol: toNumber(golden.atol), equalNan: golden.equalNan }
  const oneByOne = Array.from(golden.close, (_, i) =>
    allclose(actual.subarray(i, i + 1), expected.subarray(i, i + 1), options).allclose ? '1' : '0',
  )
  expect(oneByOne.join('')).toBe(golden.close)
  const result = allclose(actual, expected, options)
  expect(result.allclose).toBe(golden.allclose)
  expect(result.failures).toBe(golden.close.split('0').length - 1)
  if (result.failures > 0) expect(golden.close[result.worst!.index]).toBe('0')
})

test('the goldens hold both answers at the border', () => {
  const border = goldens.filter((g) => g.name.startsWith('border'))
  const closeShare = border.map((g) => g.close).join('')
  expect(border.length).toBe(70)
  expect(closeShare.split('1').length).toBeGreaterThan(300)
  expect(closeShare.split('0').length).toBeGreaterThan(300)
})

test('defaults are rtol 1e-5 and atol 1e-8', () => {
  const zero = Float64Array.of(0)
  expect(allclose(Float64Array.of(1e-8), zero).allclose).toBe(true)
  expect(allclose(Float64Array.of(1.1e-8), zero).allclose).toBe(false)
  expect(allclose(Float64Array.of(1000.009), Float64Array.of(1000)).allclose).toBe(true)
  expect(allclose(Float64Array.of(1000.011), Float64Array.of(1000)).allclose).toBe(false)
})

test('worst is the largest difference − allowed, not the largest difference', () => {
  const result = allclose(Float64Array.of(1, 1001, 2.5), Float64Array.of(1, 1000, 2), { rtol: 0.01, atol: 0 })
  expect(result).toEqual({
    allclose: false,
    failures: 1,
    worst: { index: 2, difference: 0.5, allowed: 0.02 },
  })
})

test('worst of float32 carries the float32 sides of the comparison', () => {
  const result = allclose(Float32Array.of(1.5), Float32Array.of(1), { rtol: 0.1, atol: 0.2 })
  expect(result.worst).toEqual({
    index: 0,
    difference: 0.5,
    allowed: Math.fround(Math.fround(0.1) + Math.fround(0.2)),
  })
})

test('worst without finite numbers', () => {
  const { NaN: nan, POSITIVE_INFINITY: inf } = Number
  const worst = (a: number[], b: number[], equalNan = false) =>
    allclose(Float64Array.from(a), Float64Array.from(b), { equalNan }).worst
  expect(worst([], [])).toBeNull()
  expect(worst([inf, nan], [inf, nan], true)).toBeNull()
  expect(worst([inf, 1], [inf, 1])!.index).toBe(1)
  expect(worst([9, nan, inf], [1, 2, 3])!.index).toBe(1)
  expect(worst([9, 1], [1, inf])).toEqual({ index: 1, difference: inf, allowed: inf })
})

test('wrong arguments', () => {
  const one = Float64Array.of(1)
  expect(() => allclose(one, new Float64Array(2))).toThrow(
    new RangeError('allclose needs arrays of one length, got 1 and 2'),
  )
  expect(() => allclose(one, Float32Array.of(1))).toThrow(
    new TypeError('allclose needs one float type, got float64 and float32'),
  )
  for (const value of [-1, Number.NaN]) {
    expect(() => allclose(one, one, { rtol: value })).toThrow(`rtol must be a number >= 0, got ${value}`)
    expect(() => allclose(one, one, { atol: value })).toThrow(LoraSvdError)
  }
})

test('any finite array is close to itself, and looser tolerances never fail more', () => {
  const finite = fc.double({ noNaN: true, noDefaultInfinity: true })
  fc.assert(
    fc.property(fc.array(fc.tuple(finite, finite)), fc.nat(8), (pairs, power) => {
      const a = Float64Array.from(pairs, ([x]) => x)
      const b = Float64Array.from(pairs, ([, y]) => y)
      expect(allclose(a, a, { rtol: 0, atol: 0 }).allclose).toBe(true)
      const tight = allclose(a, b, { rtol: 10 ** -power, atol: 10 ** -power })
      const loose = allclose(a, b, { rtol: 10 ** (1 - power), atol: 10 ** (1 - power) })
      expect(loose.failures).toBeLessThanOrEqual(tight.failures)
    }),
  )
})
