import fc from 'fast-check'
import { expect, test } from 'vitest'
import { JsonError, jsonReader, parseJson } from '../../src/text/strict-json.ts'

/** Whether the whole text is one value by our reader; an error other than JsonError fails the test. */
function isRead(text: string): boolean {
  const json = jsonReader(text)
  try {
    json.skip()
    json.end()
    return true
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    return false
  }
}

function isParsed(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

const mark = fc.constantFrom(...'{}[]:,"\\u0e+-.19 \t\n\u0001tfnaé')

test('takes what JSON.parse takes, and nothing else', () => {
  const change = fc.record({ at: fc.nat(60), mark, kind: fc.constantFrom('none', 'set', 'insert', 'delete') })
  fc.assert(
    fc.property(fc.json({ maxDepth: 3 }), fc.array(change, { maxLength: 2 }), (json, changes) => {
      const text = [...json]
      for (const { at, mark, kind } of changes) {
        if (kind === 'set') text[Math.min(at, text.length)] = mark
        if (kind === 'insert') text.splice(at, 0, mark)
        if (kind === 'delete') text.splice(at, 1)
      }
      expect([text.join(''), isRead(text.join(''))]).toEqual([text.join(''), isParsed(text.join(''))])
    }),
    { numRuns: 3000 },
  )
})

test('any text made of marks is judged alike', () => {
  fc.assert(
    fc.property(fc.array(mark, { maxLength: 8 }), (marks) => {
      expect(isRead(marks.join(''))).toBe(isParsed(marks.join('')))
    }),
    { numRuns: 3000 },
  )
})

test('strings are what JSON.parse makes of them', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const json = JSON.stringify(text)
      const escaped = json.replace(/[a-z]/g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`)
      expect(jsonReader(json).string()).toBe(text)
      if (!json.includes('\\')) expect(jsonReader(escaped).string()).toBe(text)
    }),
  )
})

test('counts are whole numbers below 2^53, as digits', () => {
  expect(jsonReader(' 9007199254740991,').count()).toBe(Number.MAX_SAFE_INTEGER)
  expect(jsonReader('0').count()).toBe(0)
  for (const text of [
    '9007199254740992',
    '1e3',
    '1.0',
    '1.',
    '-1',
    '00',
    '01',
    '',
    'x',
    '"1"',
    '9'.repeat(400),
  ]) {
    expect(() => jsonReader(text).count()).toThrow(JsonError)
  }
})

test('errors name the character', () => {
  expect(() => jsonReader('{"a": }').object(() => jsonReader('x').skip())).toThrow('found "x" at character 1')
  const json = jsonReader('  [1, x]')
  expect(() => json.array(() => json.count())).toThrow(
    'expected a non-negative integer, found "x]" at character 7',
  )
})

test('a value nested too deep is refused, not followed to the end of the stack', () => {
  const nested = (depth: number, open: string, close: string) => open.repeat(depth) + close.repeat(depth)
  expect(parseJson(nested(128, '[', ']'))).toBeInstanceOf(Array)
  for (const text of [nested(7000, '[', ']'), `${'{"a":'.repeat(7000)}1${'}'.repeat(7000)}`]) {
    expect(() => parseJson(text)).toThrow(/^more than 128 levels of nesting at character/)
  }
})

test('what is found in place of what is expected is shown on one line', () => {
  expect(() => parseJson('"a": \u2028\u202e\u0085\ufeff')).toThrow(
    'expected nothing more, found ": \\u{2028}\\u{202e}\\u{0085}\\u{feff}" at character 4',
  )
})
