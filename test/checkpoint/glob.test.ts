import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { matcher, nameFilter } from '../../src/checkpoint/filter.ts'
import { badInput } from '../../src/errors.ts'

const matches = (pattern: string, name: string) => matcher([pattern])(name)

describe('a pattern', () => {
  test.each([
    ['model.layers.0.q_proj.weight', 'model.layers.0.q_proj.weight', true],
    ['q_proj', 'model.layers.0.q_proj.weight', false],
    ['*q_proj*', 'model.layers.0.q_proj.weight', true],
    ['*.q_proj.weight', 'model.layers.0.q_proj.weight', true],
    ['model.*.weight', 'model.layers.0.q_proj.weight', true],
    ['model.layers.?.*', 'model.layers.0.q_proj.weight', true],
    ['model.layers.?.*', 'model.layers.10.q_proj.weight', false],
    ['*.[qkv]_proj.*', 'layers.0.k_proj.weight', true],
    ['*.[qkv]_proj.*', 'layers.0.o_proj.weight', false],
    ['*.[!qkv]_proj.*', 'layers.0.o_proj.weight', true],
    ['*layers.[0-2].*', 'model.layers.2.x', true],
    ['*layers.[0-2].*', 'model.layers.3.x', false],
    ['a[]]b', 'a]b', true],
    ['a[!]]b', 'a]b', false],
    ['a[b', 'a[b', true],
    ['a[b-]c', 'a-c', true],
    ['*', '', true],
    ['', '', true],
    ['', 'a', false],
    ['?', '𝄞', true],
    ['*?*', '', false],
    ['**a**', 'bab', true],
    ['a.c', 'abc', false],
    ['a+(b|c)$', 'a+(b|c)$', true],
    ['A', 'a', false],
  ])('%s of %s: %s', (pattern, name, expected) => expect(matches(pattern, name)).toBe(expected))

  test('is read as a regular expression of the same meaning would be', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '.', '*', '?'), maxLength: 12 })
    const name = fc.string({ unit: fc.constantFrom('a', 'b', '.'), maxLength: 12 })
    fc.assert(
      fc.property(letters, name, (pattern, name) => {
        const source = pattern.replace(/[.*?]/g, (mark) => ({ '*': '.*', '?': '.', '.': '\\.' })[mark]!)
        expect(matches(pattern, name)).toBe(new RegExp(`^${source}$`, 's').test(name))
      }),
      { numRuns: 2000 },
    )
  })

  test('with many stars takes no more than its length times that of the name', () => {
    expect(matches(`${'*a'.repeat(200)}b`, 'a'.repeat(20_000))).toBe(false)
  })

  test('of none matches nothing', () => expect(matcher([])('a')).toBe(false))
})

describe('a filter', () => {
  const NAMES = ['layers.0.q.weight', 'layers.0.k.weight', 'norm.weight']
  const kept = (include?: string[], exclude?: string[]) =>
    NAMES.filter(nameFilter({ include, exclude }, NAMES, 'm').isWanted)

  test('keeps what is included and not excluded', () => {
    expect(kept()).toEqual(NAMES)
    expect(kept(['layers.*'])).toEqual(NAMES.slice(0, 2))
    expect(kept(['*.q.*', 'norm*'])).toEqual([NAMES[0], NAMES[2]])
    expect(kept(undefined, ['*norm*'])).toEqual(NAMES.slice(0, 2))
    expect(kept(['layers.*'], ['*.k.*'])).toEqual([NAMES[0]])
  })

  test('refuses an include that matches nothing, and says what might', () => {
    const message = (pattern: string) => {
      try {
        kept([pattern])
      } catch (error) {
        return (error as Error).message
      }
    }
    expect(message('norm')).toBe(
      `m: no tensor's name matches --include "norm": a pattern is for the whole name; did you mean "*norm*"?`,
    )
    expect(message('layers.0.q.weigth')).toMatch(/; did you mean "layers\.0\.q\.weight", /)
    expect(message('zzz*')).toBe(`m: no tensor's name matches --include "zzz*"`)
    expect(() => kept(['*', 'zzz*'])).toThrow(
      badInput(`m: no tensor's name matches --include "zzz*"`, { file: 'm' }),
    )
  })

  test('warns of an exclude that matches nothing', () => {
    expect(nameFilter({ exclude: ['norm', '*'] }, NAMES, 'm').warnings).toEqual([
      `m: no tensor's name matches --exclude "norm": a pattern is for the whole name; did you mean "*norm*"?`,
    ])
  })
})
