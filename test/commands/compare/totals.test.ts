import { describe, expect, test } from 'vitest'
import { pairAt, pairsOf } from '../../../src/commands/compare/compare-layer.ts'
import { type ShapedOverlap, totalsOf } from '../../../src/commands/compare/totals.ts'

/** A layer of the adapters 0 and 1, of which the first is three times as large in the second layer. */
const layer = (adapters: number[], norms: number[], cosine: number, kept: number, ranks = [2, 4]) =>
  ({
    name: 'x',
    shape: [40, 20],
    adapters,
    ranks: ranks.slice(0, adapters.length),
    norms,
    pairs: {
      cosine: Float64Array.of(cosine),
      columns: Float64Array.of(0.5),
      rows: Float64Array.of(0.25),
      keptFirst: Float64Array.of(kept),
      keptSecond: Float64Array.of(kept / 2),
    },
    engine: 'js',
  }) satisfies ShapedOverlap

test('pairs lie one after the other', () => {
  const places = [0, 1, 2, 3].flatMap((i) => [0, 1, 2, 3].filter((j) => j > i).map((j) => pairAt(i, j, 4)))
  expect(places).toEqual([0, 1, 2, 3, 4, 5])
  expect(pairsOf(4)).toBe(6)
})

describe('layers add up', () => {
  const layers = [layer([0, 1], [3, 4], 0.5, 1), layer([0, 1], [4, 3], -0.25, 0.5), layer([1], [12], 0, 0)]
  const { norms, of } = totalsOf(layers, 2)

  test('by the norms of the whole adapters, so that what one alone changes is not shared', () => {
    expect(norms).toEqual([5, 13])
    const { cosine, kept } = of(0, 1)
    expect(cosine).toBeCloseTo((0.5 * 3 * 4 - 0.25 * 4 * 3) / (5 * 13), 14)
    expect(kept[0]).toBeCloseTo((9 * 1 + 16 * 0.5) / 25, 14)
    expect(kept[1]).toBeCloseTo((16 * 0.5 + 9 * 0.25) / 169, 14)
    expect(of(1, 0).kept).toEqual([kept[1], kept[0]])
  })

  test('and the angles by their number', () => {
    const { overlap, chance } = of(0, 1)
    expect(overlap).toEqual({ columns: 0.5, rows: 0.25 })
    expect(chance).toEqual({ columns: 0.1, rows: 0.2 })
  })
})

test('numbers of any size', () => {
  for (const scale of [1e-300, 1e300]) {
    const { of } = totalsOf([layer([0, 1], [3 * scale, 4 / scale], 0.5, 1)], 2)
    expect(of(0, 1).cosine).toBeCloseTo(0.5, 14)
  }
})

test('an adapter that does nothing has no figures, and layers that none share no angles', () => {
  const zero = totalsOf([layer([0, 1], [1, 0], Number.NaN, Number.NaN, [2, 0])], 2)
  expect(zero.of(0, 1).cosine).toBeNaN()
  const apart = totalsOf([layer([0], [1], 0, 0), layer([1], [1], 0, 0)], 2).of(0, 1)
  expect(apart).toMatchObject({ cosine: 0, kept: [0, 0] })
  expect(apart.overlap.columns).toBeNaN()
})
