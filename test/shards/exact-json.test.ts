import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fromExactJson, toExactJson } from '../../src/shards/exact-json.ts'

const throughText = (value: unknown) => fromExactJson(JSON.parse(JSON.stringify(toExactJson(value))))

test('every number comes back with its bits, also those that JSON has no word for', () => {
  const numbers = fc.double()
  const values = fc.oneof(
    numbers,
    fc.string(),
    fc.boolean(),
    fc.constant(null),
    fc.float64Array().map((array) => array),
    fc.array(numbers),
    fc.record({ a: numbers, b: fc.array(fc.record({ c: fc.float64Array(), d: fc.string() })) }),
  )
  fc.assert(
    fc.property(values, (value) => {
      // toEqual tells −0 from 0, NaN from null, and a Float64Array from a list
      expect(throughText(value)).toEqual(value)
    }),
  )
  expect(Object.is(throughText(-0), -0)).toBe(true)
  expect(throughText({ x: [Number.POSITIVE_INFINITY] })).toEqual({ x: [Number.POSITIVE_INFINITY] })
})
