import { stripVTControlCharacters } from 'node:util'
import { Chalk } from 'chalk'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { logBar, rowsAroundCut, spectrumTable } from '../../src/report/spectrum.ts'
import { grid, namedGrid, table, tableWidth } from '../../src/report/table.ts'
import { wrap } from '../../src/text/width.ts'
import { knownColumns, knownText } from '../text/wide-text.ts'

const plain = new Chalk({ level: 0 })
const painted = new Chalk({ level: 1 })
const widthOf = (text: string) =>
  Math.max(...text.split('\n').map((line) => stripVTControlCharacters(line).length))

describe('table', () => {
  test('frames its cells, with a rule under the head and numbers to the right', () => {
    const rows = [
      ['1', 'a'],
      ['20', 'bc'],
    ]
    expect(table(rows, 80, ['n', 'x'], [0])).toBe(
      ['┌────┬────┐', '│  n │ x  │', '├────┼────┤', '│  1 │ a  │', '│ 20 │ bc │', '└────┴────┘'].join('\n'),
    )
  })

  test('wraps the last cells where it is wider than the terminal', () => {
    expect(table([['written', 'a path and its size']], 24)).toBe(
      [
        '┌─────────┬────────────┐',
        '│ written │ a path and │',
        '│         │ its size   │',
        '└─────────┴────────────┘',
      ].join('\n'),
    )
  })

  test('breaks a path that is longer than its cell', () => {
    const text = table([['written', '/a/path/without/any/blanks.npz']], 30)
    expect(widthOf(text)).toBeLessThanOrEqual(30)
    expect(text.replace(/[^a-z/.]/g, '')).toBe('written/a/path/without/any/blanks.npz')
  })

  test('counts what is shown, not the codes of colours', () => {
    const rows = [[painted.green('left'), painted.red('right')]]
    expect(tableWidth(rows)).toBe(16)
    expect(widthOf(table(rows, 80))).toBe(16)
  })
})

describe('cells of wide letters, emoji and accents', () => {
  const columnsOf = (text: string) =>
    text.split('\n').map((line) => knownColumns(stripVTControlCharacters(line)))
  const rows = fc.array(fc.tuple(knownText(4), knownText(6)), { minLength: 1, maxLength: 8 })
  const texts = (pairs: readonly (readonly { text: string }[])[]) =>
    pairs.map((row) => row.map(({ text }) => painted.cyan(text)))

  test('leave every line of a framed table equally wide', () => {
    fc.assert(
      fc.property(rows, fc.integer({ min: 40, max: 120 }), fc.boolean(), (pairs, width, hasHead) => {
        const text = table(texts(pairs), width, hasHead ? ['層注', 'x'] : undefined, [0])
        expect(new Set(columnsOf(text)).size).toBe(1)
        if (columnsOf(text)[0] > width) expect(columnsOf(text)[0]).toBe(tableWidth(texts(pairs)))
      }),
    )
  })

  test('leave the columns of a grid where they are', () => {
    fc.assert(
      fc.property(rows, (pairs) => {
        const cells = texts(pairs).map((row) => [...row, '|'])
        const lines = grid(['層', 'kind', '|'], cells, ['left', 'right', 'left'], plain).split('\n')
        expect(new Set(columnsOf(lines.join('\n'))).size).toBe(1)
      }),
    )
  })

  test('are cut to the width of the terminal where they are names', () => {
    const named = fc.array(
      // what joins pictures is shown as an escape in names
      knownText(12)
        .filter(({ text }) => !text.includes('\u200d'))
        .map(({ text }) => ({ name: text })),
      { minLength: 1, maxLength: 8 },
    )
    const end = { title: '|', align: 'left', worth: Number.POSITIVE_INFINITY, cell: () => '|' } as const
    fc.assert(
      fc.property(named, fc.integer({ min: 30, max: 90 }), (list, width) => {
        const text = namedGrid(list, [end], { paint: plain, columns: width }, { bare: true })
        expect(new Set(columnsOf(text)).size).toBe(1)
        expect(columnsOf(text)[0]).toBeLessThanOrEqual(width)
      }),
    )
  })
})

describe('wrap', () => {
  const words = fc.array(fc.stringMatching(/^[a-z]{1,12}$/), { minLength: 1 })

  test('loses no word and no line is too long', () => {
    fc.assert(
      fc.property(words, fc.integer({ min: 16, max: 60 }), (list, width) => {
        const text = wrap(list.join(' '), width, '   ')
        expect(text.trim().split(/\s+/)).toEqual(list)
        expect(widthOf(text)).toBeLessThanOrEqual(width)
        expect(text.split('\n').every((line) => line.startsWith('   '))).toBe(true)
      }),
    )
  })

  test('breaks no line that could hold the next word', () => {
    fc.assert(
      fc.property(words, fc.integer({ min: 12, max: 60 }), (list, width) => {
        const lines = wrap(list.join(' '), width).split('\n')
        for (let i = 1; i < lines.length; i++) {
          expect(lines[i - 1].length + 1 + lines[i].split(' ')[0].length).toBeGreaterThan(width)
        }
      }),
    )
  })
})

describe('spectrumTable', () => {
  const S = Float64Array.from({ length: 40 }, (_, i) => 3 * 0.7 ** i)

  test.each([40, 60, 80, 200])('is no wider than %i columns, whatever the singular values', (columns) => {
    const spectrum = fc
      .array(fc.double({ min: 0, max: 1e300, noNaN: true }), { minLength: 1, maxLength: 300 })
      .map((values) => values.sort((a, b) => b - a))
    fc.assert(
      fc.property(spectrum, fc.nat(), (values, seed) => {
        const kept = 1 + (seed % values.length)
        expect(widthOf(spectrumTable(values, kept, { paint: painted, columns }))).toBeLessThanOrEqual(columns)
      }),
      { numRuns: 50 },
    )
  })

  test('bars fall with the logarithm, and the first fills its column', () => {
    const text = spectrumTable([1000, 100, 10, 1], 2, { paint: plain, columns: 80 })
    expect(text).toContain('log scale, 3 decades')
    const bars = text.split('\n').flatMap((line) => line.match(/█[█▏▎▍▌▋▊▉]*/g) ?? [])
    // 40 cells for three decades: 13⅓ a decade
    expect(bars.map((bar) => bar.length)).toEqual([40, 27, 14])
  })

  test('what is kept is green, the rest dim', () => {
    const text = spectrumTable([4, 3, 2], 2, { paint: painted, columns: 80 })
    expect(text.split('\u001b[32m█')).toHaveLength(3)
    expect(text.split('\u001b[2m█')).toHaveLength(2)
  })

  test('of zeros is a table too', () => {
    expect(spectrumTable([0, 0], 1, { paint: plain, columns: 80 })).toMatch(/│ 2 │ 0 │/)
  })

  test('shows the first, those beside the cut, and the last', () => {
    const text = spectrumTable(S, 20, { paint: plain, columns: 80 })
    const numbers = text.split('\n').map((line) => /^│ +(\d+|…) │/.exec(line)?.[1])
    expect(numbers.filter(Boolean)).toEqual('1 2 … 17 18 19 20 21 22 23 24 … 40'.split(' '))
  })
})

test('rowsAroundCut: rising, both ends, both sides of the cut, and no more than asked for', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 500 }), fc.nat(), (n, seed) => {
      const cut = 1 + (seed % n)
      const rows = rowsAroundCut(n, cut, 12)
      expect(rows.length).toBeLessThanOrEqual(12)
      expect(rows.length).toBeGreaterThanOrEqual(Math.min(n, 6))
      expect(rows).toEqual([...new Set(rows)].sort((a, b) => a - b))
      for (const i of [0, n - 1, cut - 1, Math.min(cut, n - 1)]) expect(rows).toContain(i)
    }),
  )
})

test.each([
  [10, 10, 2, 8, '████████'],
  [1, 10, 2, 8, '████'],
  [0.1, 10, 2, 8, ''],
  [0.001, 10, 2, 8, ''],
  [0, 10, 2, 8, ''],
  [10 ** -0.5, 1, 1, 1, '▌'],
])('logBar(%d of %d, %d decades, %d cells) is "%s"', (s, largest, decades, width, bar) => {
  expect(logBar(s, largest, decades, width)).toBe(bar)
})
