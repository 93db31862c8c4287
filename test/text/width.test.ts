import stringWidth from 'string-width'
import { expect, test } from 'vitest'
import { PLAIN } from '../../src/text/width.ts'

test('what is measured without the tables of Unicode takes a column a letter by them too', () => {
  const plain = Array.from({ length: 0x10000 }, (_, code) => String.fromCharCode(code)).filter((x) => PLAIN.test(x))
  expect(plain.length).toBeGreaterThan(1000)
  expect(plain.filter((letter) => stringWidth(letter) !== 1)).toEqual([])
  // nor does any join with its neighbours
  expect(stringWidth(plain.join(''))).toBe(plain.length)
  expect(stringWidth(plain.toReversed().join(''))).toBe(plain.length)
})
