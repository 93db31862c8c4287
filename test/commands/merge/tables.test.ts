import { stripVTControlCharacters } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { mergeDocument } from '../../../src/commands/merge/document.ts'
import { overlapOf } from '../../../src/commands/merge/overlap.ts'
import { mergeTables } from '../../../src/commands/merge/text.ts'
import { documentOf } from '../../cli/schema.ts'
import { rendered, widest } from '../../report/rendered.ts'
import { anyMergeResult } from './any-result.ts'

const { painted, plain } = rendered(mergeTables)

test('no line is wider than the terminal, and colour changes nothing but colour', () => {
  fc.assert(
    fc.property(fc.noShrink(anyMergeResult), fc.integer({ min: 40, max: 220 }), (result, columns) => {
      const text = painted(result, columns)
      expect(widest(text)).toBeLessThanOrEqual(columns)
      expect(stripVTControlCharacters(text)).toBe(plain(result, columns))
      expect(text).not.toMatch(/NaN|undefined/)
    }),
  )
})

test('every document is one of its schema', () => {
  fc.assert(
    fc.property(anyMergeResult, (result) => {
      documentOf(JSON.stringify(mergeDocument(result)), 'merge-1')
    }),
    { numRuns: 30 },
  )
})

describe('how the parts of a sum lie to each other', () => {
  test('orthogonal ones lose nothing, equal ones strengthen, opposite ones cancel', () => {
    const of = (cosine: number) =>
      overlapOf(
        [
          [
            [4, 2 * 3 * cosine],
            [2 * 3 * cosine, 9],
          ],
        ],
        2,
      )
    expect(of(0)).toMatchObject({ norms: [2, 3], interference: 0, norm: Math.sqrt(13) })
    expect(of(0).shares[0]).toBeCloseTo(4 / 13, 15)
    expect(of(1).norm).toBeCloseTo(5, 15)
    expect(of(1).interference).toBeLessThan(0)
    expect(of(-1).norm).toBeCloseTo(1, 15)
    expect(of(-1).interference).toBeCloseTo(1 - 1 / Math.sqrt(13), 15)
    expect(
      overlapOf(
        [
          [
            [4, -4],
            [-4, 4],
          ],
        ],
        2,
      ),
    ).toMatchObject({ interference: 1, norm: 0 })
  })

  test('a layer that lacks the last adapters, or all of them, adds nothing to them', () => {
    const { norms, cosines, shares } = overlapOf(
      [
        [[9]],
        [
          [16, 0, 0],
          [0, 0, 0],
          [0, 0, 1],
        ],
      ],
      4,
    )
    expect(norms).toEqual([5, 0, 1, 0])
    expect(shares).toEqual([25 / 26, 0, 1 / 26, 0])
    expect(cosines[0]).toEqual([1, Number.NaN, 0, Number.NaN])
    expect(overlapOf([], 2)).toMatchObject({ norms: [0, 0], interference: 0, shares: [0, 0] })
  })

  test('whatever they are, a share is a share and a cosine a cosine, and scaling changes neither', () => {
    const vectors = fc.array(
      fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: 4, maxLength: 4 }),
      {
        minLength: 1,
        maxLength: 5,
      },
    )
    fc.assert(
      fc.property(vectors, fc.integer({ min: -60, max: 60 }), (all, power) => {
        const gram = (scale: number) =>
          all.map((x) => all.map((y) => x.reduce((sum, value, i) => sum + scale * value * scale * y[i], 0)))
        const found = overlapOf([gram(2 ** power)], all.length)
        for (const share of found.shares) expect(share).toBeGreaterThanOrEqual(0)
        for (const cosine of found.cosines.flat())
          if (!Number.isNaN(cosine)) expect(Math.abs(cosine)).toBeLessThanOrEqual(1)
        expect(found.interference).toBeLessThanOrEqual(1)
        const total = found.shares.reduce((sum, share) => sum + share, 0)
        if (found.norms.some((norm) => norm > 1e-100)) expect(total).toBeCloseTo(1, 12)
      }),
    )
  })
})
