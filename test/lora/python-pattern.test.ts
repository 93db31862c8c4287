import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { PatternSet } from '../../src/lora/pattern/pattern-set.ts'
import { PatternError } from '../../src/lora/pattern/syntax.ts'

interface Goldens {
  readonly paths: readonly string[]
  readonly keys: readonly { key: string; matches?: number[]; error?: string }[]
  readonly refused: readonly string[]
}

const { paths, keys, refused }: Goldens = JSON.parse(
  readFileSync(new URL('../fixtures/adapter/python-patterns.json', import.meta.url), 'utf8'),
)

const patternMatches = (key: string, path: string) => PatternSet.ofKeys([key]).matches(path)

describe('keys of rank_pattern match the module paths that Python’s re matches', () => {
  test.each(keys.filter(({ matches }) => matches !== undefined))('$key', ({ key, matches }) => {
    expect(paths.flatMap((path, index) => (patternMatches(key, path) ? [index] : []))).toEqual(matches)
  })
})

describe('what Python refuses is refused', () => {
  test.each(keys.filter(({ error }) => error !== undefined))('$key', ({ key }) => {
    expect(() => patternMatches(key, 'q_proj')).toThrow(PatternError)
  })
})

describe('what has no counterpart is refused, not guessed', () => {
  test.each(refused)('%s', (key) => {
    expect(() => patternMatches(key, 'q_proj')).toThrow(PatternError)
  })
})

test('the goldens hold both kinds, and matches of some keys are few and of others many', () => {
  expect(keys.filter(({ error }) => error !== undefined).length).toBeGreaterThan(25)
  expect(new Set(keys.map(({ matches }) => matches?.length)).size).toBeGreaterThan(6)
})

test('many patterns together: the first that matches one by one is the first of the set', () => {
  const valid = keys.filter(({ matches }) => matches !== undefined)
  const together = PatternSet.ofKeys(valid.map(({ key }) => key))
  for (const [index, path] of paths.entries()) {
    const expected = valid.flatMap(({ matches }, rule) => (matches!.includes(index) ? [rule] : []))
    expect([...new Set(together.all(path))].sort((a, b) => a - b)).toEqual(expected)
    expect(together.first(path)).toBe(expected[0])
  }
})

test('plain keys at the end of long paths, with and without a newline before', () => {
  const long = 'x.'.repeat(500)
  const keys = PatternSet.ofKeys(['a.q', '^q', '𝔄'])
  const paths = [
    `${long}a.q`,
    `${long}aaq`,
    `a\n${long}a.q`,
    `${long}xa.q`,
    `${long}q`,
    `${long}𝔄`,
    `x${long}b𝔄`,
  ]
  // Python: re.match(r"(.*\.)?(KEY)$", path), whose first dot stops at a newline
  expect(paths.map((path) => keys.first(path))).toEqual([0, 0, undefined, undefined, undefined, 2, undefined])
})

test('a whole path is matched from its start to its end, as by re.fullmatch', () => {
  const whole = PatternSet.ofWholePaths(String.raw`a\.b|(?:x\.)+q_proj|.*\.(?:k|v)_proj`)
  const paths = [
    'a.b',
    'a.b\n',
    'z.a.b',
    'x.q_proj',
    'x.x.q_proj',
    'q_proj',
    'm.v_proj',
    'v_proj',
    'm.v_proj.w',
  ]
  expect(paths.filter((path) => whole.matches(path))).toEqual(['a.b', 'x.q_proj', 'x.x.q_proj', 'm.v_proj'])
})

describe('hostile patterns and names end at once: their work is bounded by states × characters', () => {
  const long = 'a'.repeat(20_000)
  test.each([
    '(a+)+$',
    '(a*)*b',
    '(a|a)*b',
    '(a|aa)+b',
    '((a+)+)+b',
    '([a-z]+)*\\d',
    '(.*a){20}b',
    '(.*)*(.*)*(.*)*!b',
    '(a?){20}a{20}b',
  ])('%s', (key) => {
    expect([`${long}!`, `!${long}`].filter((name) => patternMatches(key, name))).toEqual([])
  })

  test.each(['((a{1000}){1000}){1000}', 'a{4000000000}', '(a{,9999}){,9999}'])('%s is too large', (key) => {
    expect(() => patternMatches(key, 'a')).toThrow(PatternError)
  })

  test('groups without end are refused by name', () => {
    expect(() => patternMatches('('.repeat(100_000), 'a')).toThrow(/deep/)
  })

  test('what would take minutes is stopped by name', () => {
    const many = PatternSet.ofKeys(
      Array.from({ length: 2000 }, (_, i) => `(.*a){9}${'b'.repeat(i % 7)}[^c]*x?`),
    )
    expect(() => many.first('ab'.repeat(10_000))).toThrow(/too long/)
  })
})

test('16,000 paths as patterns against 16,000 paths: the work of a set grows with what it is asked, not with its size', () => {
  const path = (i: number) => `model.layers.${i >> 3}.self_attn.${'abcdefgh'[i & 7]}_proj`
  const size = 16_000
  const escaped = PatternSet.ofKeys(
    Array.from({ length: size }, (_, i) => `^${path(i).replaceAll('.', '\\.')}`),
  )
  const bare = PatternSet.ofKeys(Array.from({ length: size }, (_, i) => path(i)))
  const whole = PatternSet.ofWholePaths(
    Array.from({ length: size }, (_, i) => path(i).replaceAll('.', '\\.')).join('|'),
  )
  // a set stops by itself after 60 million steps, which are some 4,000 a path
  const wrong = Array.from({ length: size }, (_, i) => i).filter(
    (i) => escaped.first(path(i)) !== i || bare.first(`base.${path(i)}`) !== i || !whole.matches(path(i)),
  )
  expect(wrong).toEqual([])
})

// found by bench/fuzz.mjs: each state takes some 230 bytes, and a config may have several such patterns
test('repeats that would take more than some 50 MB are refused before they do', () => {
  const set = PatternSet.ofWholePaths('(x{99000}y)?')
  expect(set.matches('x')).toBe(false)
  for (const pattern of ['(x{200001}y)?', 'x{9007199254740993}y*']) {
    expect(() => PatternSet.ofWholePaths(pattern)).toThrow('too large: repeats multiply')
  }
})
