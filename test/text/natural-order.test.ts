import fc from 'fast-check'
import { expect, test } from 'vitest'
import '../property-seed.ts'
import { compareNatural, compareUtf8 } from '../../src/text/compare.ts'

test('numbers by size, the rest by bytes', () => {
  const sorted = ['a', 'a2', 'a02b', 'a10', 'a.2.b', 'a.2.c', 'a.10.b', 'a.10.b.1', 'b', 'é']
  expect([...sorted].reverse().sort(compareNatural)).toEqual(sorted)
  expect(['x.10', 'x.9', 'x.100', 'x.09'].sort(compareNatural)).toEqual(['x.09', 'x.9', 'x.10', 'x.100'])
  expect(['B', 'a', 'A', 'b'].sort(compareNatural)).toEqual(['A', 'B', 'a', 'b'])
})

test('an order: of two different names one is first, and it is transitive', () => {
  const name = fc.string({ unit: fc.constantFrom('a', 'b', '.', '0', '1', '2', '9', 'é'), maxLength: 8 })
  fc.assert(
    fc.property(name, name, name, (a, b, c) => {
      expect(Math.sign(compareNatural(a, b))).toBe(0 - Math.sign(compareNatural(b, a)))
      expect(compareNatural(a, b) === 0).toBe(a === b)
      if (compareNatural(a, b) <= 0 && compareNatural(b, c) <= 0) {
        expect(compareNatural(a, c)).toBeLessThanOrEqual(0)
      }
    }),
  )
})

test('the order of bytes is that of UTF-8, past U+FFFF and of halves of pairs too', () => {
  const unit = fc.constantFrom(
    'a',
    'b',
    'é',
    '\u07ff',
    '\u0800',
    '\ud800',
    '\udc00',
    '\ue000',
    '\uffff',
    '😀',
  )
  const name = fc.oneof(fc.string({ unit, maxLength: 5 }), fc.string({ unit: 'binary', maxLength: 5 }))
  fc.assert(
    fc.property(name, name, (a, b) => {
      expect(compareUtf8(a, b)).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)))
    }),
  )
})
