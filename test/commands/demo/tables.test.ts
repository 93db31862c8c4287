import { stripVTControlCharacters } from 'node:util'
import { Chalk } from 'chalk'
import { describe, expect, test } from 'vitest'
import { demo } from '../../../src/commands/demo/demo.ts'
import type { DemoOptions } from '../../../src/commands/demo/options.ts'
import { demoTables } from '../../../src/commands/demo/text.ts'

const report = async (options: DemoOptions, columns = 80) =>
  demoTables(await demo(options), false, { paint: new Chalk({ level: 1 }), columns })

const plain = (text: string) => stripVTControlCharacters(text).replace(/\s+/g, ' ')

describe('no line is wider than the terminal', () => {
  test.each([
    ['the notebook', {}],
    ['a long matrix', { d: 12_345, k: 12, rank: 9, noise: 0.001 }],
    ['a wide matrix', { d: 3, k: 4_321, rank: 3, truncate: 1 }],
    ['a long seed', { seed: 123456789012345678901234567890n, draw: 12 }],
    ['no tolerance', { rtol: 0, atol: 0 }],
  ] satisfies [string, DemoOptions][])('%s', async (_, options) => {
    for (const columns of [40, 60, 80, 200]) {
      const widths = (await report(options, columns))
        .split('\n')
        .map((line) => stripVTControlCharacters(line).length)
      expect(Math.max(...widths)).toBeLessThanOrEqual(columns)
    }
  })
})

describe('what it says', () => {
  test.each([
    [{}, 'Every row of W is a mix of the same 2 rows, so its rank can’t be more than 2.'],
    [{}, '2 singular values stand above rounding: that count is the rank. After them the spectrum falls'],
    [{ rank: 1 }, 'Every row of W is a multiple of one row, so its rank can’t be more than 1.'],
    [
      { rank: 1 },
      '1 singular value stands above rounding: that count is the rank. After it the spectrum falls',
    ],
    [{ rank: 1 }, 'The leading direction of W: no other matrix of rank 1 is nearer to it.'],
    [{ rank: 10 }, '10 singular values stand above rounding, so the rank is full.'],
    [{ rank: 10 }, 'At this rank the factors hold no fewer numbers than W: there is nothing to save.'],
    [{ noise: 0.1 }, 'so the rank is full; all after the first 2 come from the noise.'],
    [{ noise: 0.1 }, 'The noise that was left out shows in y: keep more directions with --truncate'],
    [
      { rank: 4, truncate: 3 },
      '3 of 4 directions are kept: what is missing shows in y. Keep 4 with --truncate 4.',
    ],
    [{ rtol: 0, atol: 0 }, 'The vectors agree to rounding (normwise error'],
  ] satisfies [DemoOptions, string][])('of %j: %s', async (options, sentence) => {
    expect(plain(await report(options))).toContain(sentence.replaceAll('’', "'"))
  })
})
