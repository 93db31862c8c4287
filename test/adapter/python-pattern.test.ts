import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { patternMatches } from '../../src/adapter/peft-config.ts'
import { PatternError, pythonPattern } from '../../src/adapter/python-pattern.ts'

interface Goldens {
  readonly paths: readonly string[]
  readonly keys: readonly { key: string; matches?: number[]; error?: string }[]
  readonly refused: readonly string[]
}

const { paths, keys, refused }: Goldens = JSON.parse(
  readFileSync(new URL('../fixtures/adapter/python-patterns.json', import.meta.url), 'utf8'),
)

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

test('a pattern matches from the start, and need not reach the end, as re.match', () => {
  expect(pythonPattern('b').test('ab')).toBe(false)
  expect(pythonPattern('a').test('ab')).toBe(true)
  expect(pythonPattern('a|b').test('cb')).toBe(false)
})
