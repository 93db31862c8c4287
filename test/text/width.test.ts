import fc from 'fast-check'
import stringWidth from 'string-width'
import { describe, expect, test } from 'vitest'
import { fittedName } from '../../src/text/names.ts'
import { PLAIN, widthOf, withoutMiddle, wrap } from '../../src/text/width.ts'
import { knownColumns, knownText } from './wide-text.ts'

test('what is measured without the tables of Unicode takes a column a letter by them too', () => {
  const letters = Array.from({ length: 0x10000 }, (_, code) => String.fromCharCode(code))
  const plain = letters.filter((letter) => PLAIN.test(letter))
  expect(plain.length).toBeGreaterThan(1000)
  expect(plain.filter((letter) => stringWidth(letter) !== 1)).toEqual([])
  // nor does any join with its neighbours
  expect(stringWidth(plain.join(''))).toBe(plain.length)
  expect(stringWidth(plain.toReversed().join(''))).toBe(plain.length)
})

test('a text takes the columns that its letters, accents and pictures take', () => {
  fc.assert(
    fc.property(knownText(8), ({ text, columns }) => {
      expect(widthOf(text)).toBe(columns)
      expect(knownColumns(text)).toBe(columns)
    }),
  )
})

test('colours take no columns', () => {
  expect(widthOf('\u001b[31m層\u001b[39m')).toBe(2)
})

describe('a text without its middle', () => {
  test('is as wide as asked, or narrower by the half of a wide letter', () => {
    fc.assert(
      fc.property(knownText(8), fc.integer({ min: 1, max: 40 }), ({ text, columns }, room) => {
        for (const begin of [0, Math.floor((room - 1) / 3), Math.ceil((room - 1) / 2)]) {
          const cut = withoutMiddle(text, room, begin)
          expect(widthOf(cut)).toBeLessThanOrEqual(room)
          if (columns <= room) expect(cut).toBe(text)
          else expect(widthOf(cut)).toBeGreaterThanOrEqual(room - 2)
        }
      }),
    )
  })

  test('is the beginning and the end', () => {
    fc.assert(
      fc.property(knownText(8), fc.integer({ min: 1, max: 40 }), ({ text }, room) => {
        const [start, end] = fittedName(text, room).split('…')
        expect(text.startsWith(start)).toBe(true)
        expect(text.endsWith(end ?? '')).toBe(true)
      }),
    )
  })

  test('halves no picture and takes no accent from its letter', () => {
    expect(
      withoutMiddle('👩\u200d👩\u200d👧\u200d👦👩\u200d👩\u200d👧\u200d👦👩\u200d👩\u200d👧\u200d👦', 5, 2),
    ).toBe('👩\u200d👩\u200d👧\u200d👦…👩\u200d👩\u200d👧\u200d👦')
    expect(withoutMiddle('e\u0301e\u0301e\u0301e\u0301', 3, 1)).toBe('e\u0301…e\u0301')
    expect(withoutMiddle('🇨🇭🇩🇪🇫🇷', 4, 2)).toBe('🇨🇭…')
  })
})

describe('wrapped text', () => {
  test('has no line that is too wide, and loses nothing', () => {
    const sentence = fc.array(knownText(6), { minLength: 1, maxLength: 12 })
    fc.assert(
      fc.property(sentence, fc.integer({ min: 5, max: 60 }), (words, width) => {
        const text = words.map((word) => word.text).join(' ')
        const lines = wrap(text, width).split('\n')
        for (const line of lines) expect(knownColumns(line)).toBeLessThanOrEqual(width)
        // an accent and its letter may come out as the one letter that they are
        expect(lines.join('').replaceAll(' ', '').normalize()).toBe(text.replaceAll(' ', '').normalize())
      }),
    )
  })

  test('breaks a painted word that is too long, each line in its own colour', () => {
    expect(wrap('\u001b[31m注意力層\u001b[39m', 4)).toBe('\u001b[31m注意\u001b[39m\n\u001b[31m力層\u001b[39m')
  })

  test('breaks words of ASCII letters at the width', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[!-~]{1,80}$/), fc.integer({ min: 1, max: 40 }), (word, width) => {
        const expected = Array.from({ length: Math.ceil(word.length / width) }, (_, i) =>
          word.slice(i * width, (i + 1) * width),
        )
        expect(wrap(word, width).split('\n')).toEqual(expected)
      }),
    )
  })
})
