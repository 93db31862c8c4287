import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { modelVerdict, verdictOf } from '../../../src/commands/inspect/verdict.ts'
import { lowExactRankLimit, lowRankLimit } from '../../../src/linalg/spectrum/measures.ts'
import { sparkline, sparklineDecades } from '../../../src/report/spectrum.ts'
import {
  adapterResult,
  bigResult,
  digitsResult,
  type Extras,
  exactly,
  findingsOf,
  leadingSpectrum,
  mixedResult,
  powerLaw,
  resultOf,
  wholeSpectrum,
} from './sample-results.ts'

const bf16 = { dtype: 'bf16', frobenius: 45, relativeChange: 0.01 }
const noise = { floor: 0.5, rankAbove: exactly(8), changedShare: 0.93, isSubUlp: false }
const flat = wholeSpectrum(256, 256, new Float64Array(256).fill(1))
/** Fourteen equal directions and 1 % of the energy in the rest. */
const fourteen = wholeSpectrum(
  256,
  256,
  Float64Array.from({ length: 256 }, (_, i) => (i < 14 ? 1 : Math.sqrt((14 * 0.005) / 242))),
)
const gaussianLike = wholeSpectrum(2048, 2048, powerLaw(2048, 0.1))
const exactTwo = wholeSpectrum(10, 10, Float64Array.of(5, 3, ...new Array(8).fill(0)))
const spiked = wholeSpectrum(256, 1024, powerLaw(256, 1.5, 9, 0.02))

describe('in plain words', () => {
  const adapter = { nominalRank: 16, alpha: 32, scale: 2, wasted: 13, scales: [] }
  const three = wholeSpectrum(2048, 2048, Float64Array.of(3, 2, 1, ...new Array(13).fill(0)))
  const sixteen = wholeSpectrum(2048, 2048, new Float64Array(16).fill(1))
  test.each([
    ['low-rank', 'low-rank: rank 14 of 256 keeps 99 %', fourteen, {}],
    ['low-rank', 'low-rank: exactly rank 2 of 10', exactTwo, {}],
    ['not-low-rank', 'not low-rank: 90 % needs 231 of 256', flat, {}],
    [
      'not-low-rank',
      'not low-rank: the leading 64 of 2,048 keep 6.2 % at most',
      leadingSpectrum(gaussianLike, 64),
      {},
    ],
    [
      'unrelated',
      'these two are not related (relative change 1.4)',
      flat,
      { base: { ...bf16, relativeChange: 1.41 } },
    ],
    [
      'not-low-rank',
      'not low-rank: 90 % needs 231 of 256',
      flat,
      { base: { ...bf16, frobenius: 0, relativeChange: Infinity } },
    ],
    [
      'low-rank',
      'low-rank: rank 14 of 256 keeps 99 %; more than the base itself (relative change 5)',
      fourteen,
      { base: { ...bf16, relativeChange: 5 } },
    ],
    [
      'below-rounding',
      'below the rounding of bf16: nothing above the noise floor',
      flat,
      { dtype: 'bf16', base: bf16, noise: { ...noise, rankAbove: exactly(0) } },
    ],
    [
      'below-rounding',
      'below the rounding of bf16 and f16: nothing above the noise floor',
      flat,
      { dtype: 'f16', base: bf16, noise: { ...noise, rankAbove: exactly(0) } },
    ],
    [
      'low-rank',
      'low-rank but for the rounding of bf16: rank 8 of 256 stands above it, with 90.8 % of the change',
      spiked,
      { dtype: 'bf16', base: bf16, noise },
    ],
    ['zero', 'all zero', wholeSpectrum(4, 4, new Float64Array(4)), {}],
    ['zero', 'all zero: base and tuned are equal', wholeSpectrum(4, 4, new Float64Array(4)), { base: bf16 }],
    [
      'zero',
      'all zero: the adapter changes nothing here',
      wholeSpectrum(4, 4, new Float64Array(4)),
      { adapter },
    ],
    ['low-rank', 'rank 3 of its nominal 16: 13 directions wasted', three, { adapter }],
    ['low-rank', 'uses all of its nominal rank 16', sixteen, { adapter: { ...adapter, wasted: 0 } }],
  ] as const satisfies [string, string, object, Extras][])('%s: %s', (kind, text, spectrum, extras) => {
    expect(verdictOf(findingsOf('w', spectrum, extras))).toEqual({ kind, text })
  })

  test('partly low-rank, as NumPy counts the ranks of a real delta', () => {
    const { matrices } = digitsResult()
    const texts = Object.fromEntries(matrices.map(({ name, verdict }) => [name, verdict.text]))
    expect(texts['model.layers.0.mlp.gate_proj.weight']).toBe(
      'partly low-rank: rank 13 of 96 keeps 90 %, 99 % needs 55',
    )
    expect(texts['model.layers.0.mlp.down_proj.weight']).toBe('not low-rank: 90 % needs 19 of 96')
  })

  test('what the leading values leave open is said to be open, with the way out', () => {
    const slow = wholeSpectrum(2048, 2048, powerLaw(2048, 0.7))
    const { kind, text } = verdictOf(findingsOf('w', leadingSpectrum(slow, 64), {}))
    expect(kind).toBe('open')
    expect(text).toMatch(/^open: the leading 64 of 2,048 keep \d+(\.\d)? % at most; --full tells$/)
  })
})

describe('bounds', () => {
  test('a low rank saves three quarters, or a half up to rank 16', () => {
    expect(lowRankLimit(2048, 2048)).toBe(256)
    expect(lowRankLimit(96, 96)).toBe(16)
    expect(lowRankLimit(10, 10)).toBe(2)
    expect(lowExactRankLimit(2048, 2048)).toBe(512)
    expect(lowRankLimit(0, 7)).toBe(0)
  })

  test('a verdict on the leading values is never taken back by all of them', () => {
    const arbitrary = fc.record({
      power: fc.double({ min: 0, max: 2, noNaN: true }),
      order: fc.integer({ min: 40, max: 400 }),
      given: fc.integer({ min: 1, max: 39 }),
    })
    fc.assert(
      fc.property(arbitrary, ({ power, order, given }) => {
        const whole = wholeSpectrum(order, 500, powerLaw(order, power))
        const early = verdictOf(findingsOf('w', leadingSpectrum(whole, given), {})).kind
        const late = verdictOf(findingsOf('w', whole, {})).kind
        if (early === 'partly-low-rank') expect(['low-rank', early]).toContain(late)
        else if (early !== 'open') expect(early).toBe(late)
      }),
    )
  })
})

describe('over the model', () => {
  test.each([
    [
      digitsResult(),
      '23 deltas: 21 partly low-rank and 2 not low-rank. Rank 16 for all keeps 93.5 % at 27.1 % of the size.',
    ],
    [adapterResult(), '12 modules: all low-rank. Rank 16 for all keeps 100 %.'],
    [resultOf('delta', [], { unchanged: ['a'] }), 'All matrices that were compared are equal in both.'],
    [resultOf('weights', []), 'No matrices here.'],
    [resultOf('adapter', []), 'No modules here.'],
    [resultOf('weights', [], { nonFinite: mixedResult().nonFinite }), 'No matrix with finite entries.'],
  ])('%#: %s', (result, sentence) => {
    expect(modelVerdict(result)).toBe(sentence)
  })

  test('says that it speaks of what is shown, and bounds what it does not know', () => {
    const result = bigResult(1)
    const text = modelVerdict({ ...result, matrices: result.matrices.slice(0, 2) })
    expect(text).toContain('2 matrices shown: all not low-rank.')
    expect(text).toMatch(
      /No tabulated rank keeps 90 % and is smaller: rank 256 for all [\d,]+ keeps [\d.]+ % at most\.$/,
    )
  })
})

describe('sparklines', () => {
  test('fall by two blocks a decade on four decades', () => {
    expect(sparkline([1, 0.1, 0.01, 0.001, 1e-4, 1e-9, 0], true, 4, 7)).toBe('█▆▄▂▁▁ ')
  })
  test('end in … where values are missing, and keep their width', () => {
    expect(sparkline([1, 1, 1, 1, 1, 1, 1, 1], false, 1, 5)).toBe('████…')
    expect(sparkline([2, 1], true, 1, 5)).toBe('█▆   ')
    expect(sparkline([], true, 1, 3)).toBe('   ')
  })
  test('show the first and the last value', () => {
    const line = sparkline(
      Float64Array.from({ length: 1000 }, (_, i) => (i === 0 ? 1 : i === 999 ? 1e-4 : 0.1)),
      true,
      4,
      10,
    )
    expect(line).toBe('█▆▆▆▆▆▆▆▆▁')
  })
  test('share a scale of the decades that half of them span', () => {
    expect(sparklineDecades([])).toBe(1)
    expect(
      sparklineDecades([
        [1, 0.5],
        [1, 0.002],
        [1, 1e-9],
      ]),
    ).toBe(3)
    expect(
      sparklineDecades([
        [1, 1e-9],
        [1, 1e-9, 0],
      ]),
    ).toBe(4)
    expect(sparklineDecades([[0, 0]])).toBe(1)
  })
})
