import fc from 'fast-check'
import { expect, test } from 'vitest'
import { deltaVerdict } from '../../../src/commands/extract/sentences.ts'
import { digitsLlama } from '../inspect/sample-results.ts'
import { anyLayer } from './any-result.ts'
import { digitsLayers, layerOf } from './sample-results.ts'

const square = (rank: number, best: number, changed = {}) => [
  layerOf('model.layers.0.a.weight', [2048, 2048], rank, best, changed),
  layerOf('model.layers.1.a.weight', [2048, 2048], rank, best, changed),
]

test('low ranks that keep the change make it low-rank, or partly', () => {
  expect(deltaVerdict(square(16, 0.05))).toBe('low-rank: rank 16 keeps 99.7 % of the change')
  expect(deltaVerdict(square(16, 0.2))).toBe('partly low-rank: rank 16 keeps 96 % of the change')
  const [first, second] = square(16, 0.05)
  expect(deltaVerdict([first, { ...second, rank: 4 }])).toBe('low-rank: ranks 4–16 keep 99.7 % of the change')
})

test('what independent random matrices of full rank leave is not low-rank, and not related', () => {
  // of singular values that are all equal, rank 16 of 2,048 keeps 1 / 128: 0.8 %, and the bound is rounded up
  const best = Math.sqrt(1 - 16 / 2048)
  const unrelated = square(16, best, { relativeChange: Math.SQRT2 })
  expect(deltaVerdict(unrelated)).toBe(
    "not low-rank: these two are not related (relative change 1.4): the adapter can't stand for the fine-tune",
  )
  expect(deltaVerdict(square(16, best))).toBe('not low-rank: rank 16 keeps 0.9 % of the change at most')
})

test('what higher low ranks may still keep is not called high', () => {
  expect(deltaVerdict(square(16, 0.83))).toBe(
    'the ranks are too low for this change: rank 16 keeps 31.2 % of the change at most',
  )
  // at the highest low rank there is nothing left to hope for
  expect(deltaVerdict(square(256, 0.83))).toBe('not low-rank: rank 256 keeps 31.2 % of the change at most')
})

test('never says not low-rank of a change that NumPy’s spectra show to be low-rank', () => {
  for (const rank of [1, 2, 4, 8, 16]) {
    const S = Object.values(digitsLlama)
    const layers = digitsLayers(rank)
    const total = S.reduce((sum, { delta_frobenius }) => sum + delta_frobenius ** 2, 0)
    const kept16 = S.reduce(
      (sum, delta) => sum + Math.hypot(...delta.delta_singular_values.slice(0, 16)) ** 2,
      0,
    )
    expect(kept16 / total).toBeGreaterThan(0.9)
    expect(deltaVerdict(layers)).not.toContain('not low-rank')
  }
})

test('ranks that are not low are set beside their size', () => {
  expect(deltaVerdict(square(1024, 0.05))).toBe(
    'not at a low rank: rank 1,024 keeps 99.7 % of the change and takes 100 % of the matrices’ size',
  )
  // but exactly that rank, and nothing after it, is low up to a half
  expect(deltaVerdict(square(512, 0, { relativeError: 1e-7 }))).toBe(
    'low-rank: rank 512 keeps > 99.99 % of the change',
  )
})

test('what the rounding of the factors spoils is told apart', () => {
  expect(deltaVerdict(square(16, 0.05, { relativeError: 0.5 }))).toBe(
    'rank 16 could keep 99.8 % of the change; what is stored keeps 75 %',
  )
})

test('a low-rank change that is larger than the base is one all the same', () => {
  expect(deltaVerdict(square(16, 0.05, { relativeChange: 3 }))).toBe(
    'low-rank: rank 16 keeps 99.7 % of the change; the change is more than the base itself (relative change 3)',
  )
  expect(deltaVerdict(square(16, 0.05, { relativeChange: Number.POSITIVE_INFINITY }))).toContain(
    'base is all zero',
  )
})

test('equal layers change nothing, and have no weight', () => {
  const equal = layerOf('b', [2048, 2048], 0, 0, { relativeError: 0, frobenius: 0, relativeChange: 0 })
  expect(deltaVerdict([equal])).toBe('no change: base and tuned hold the same numbers in these layers')
  expect(deltaVerdict([...square(16, 0.05), equal])).toBe(deltaVerdict(square(16, 0.05)))
})

test('is one sentence without NaN, whatever the layers', () => {
  fc.assert(
    fc.property(fc.array(anyLayer, { maxLength: 6 }), (layers) => {
      expect(deltaVerdict(layers)).toMatch(/^[a-z](?!.*(NaN|undefined|Infinity|\s-)).*[^.]$/)
    }),
  )
})
