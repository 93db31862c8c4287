import fc from 'fast-check'
import { expect, test } from 'vitest'
import { verifyDocument } from '../../../src/commands/verify/document.ts'
import type { VerifyResult } from '../../../src/commands/verify/verify.ts'
import { documentOf } from '../../cli/schema.ts'
import { anyVerifyResult } from '../extract/any-result.ts'
import { verifyResult } from './sample-results.ts'

const written = (result: VerifyResult) => documentOf(JSON.stringify(verifyDocument(result)), 'verify-1')

test('is valid by its schema, whatever the result', () => {
  written(verifyResult())
  fc.assert(
    fc.property(anyVerifyResult, (result) => {
      expect(written(result).layers).toHaveLength(result.layers.length)
    }),
    { numRuns: 50 },
  )
})

test('names the figures as scripts expect them', () => {
  expect(written(verifyResult({ maxError: 0.3 }))).toMatchObject({
    source: { adapter: 'adapter', base: 'base', tuned: 'tuned' },
    layers: [{ name: 'model.layers.0.self_attn.q_proj.weight', relativeError: 0.25, rank: 8, scale: 2 }, {}],
    notCarried: [],
    worst: { name: 'model.layers.0.self_attn.q_proj.weight', relativeError: 0.25 },
    totals: { relativeError: 0.180278, wholeRelativeError: 0.461, matched: 5, unmatched: 0 },
    maxError: 0.3,
    holds: true,
  })
})

test('an infinite error is null, with the reason beside it', () => {
  const infinite = Number.POSITIVE_INFINITY
  const { replaced, worst, totals } = written(
    verifyResult({
      replaced: [
        { name: 'a', relativeError: infinite, deltaFrobenius: 0, residualFrobenius: 1 },
        { name: 'b', relativeError: infinite, deltaFrobenius: 1, residualFrobenius: infinite },
      ],
      worst: { name: 'a', relativeError: infinite },
      totals: { relativeError: infinite, wholeRelativeError: 0.5, matched: 5, unmatched: 0 },
    }),
  )
  const equal = 'base and tuned are equal here, and the adapter changes it'
  expect(replaced[0]).toMatchObject({ relativeError: null, reason: equal, residualFrobenius: 1 })
  expect(replaced[1]).toMatchObject({
    relativeError: null,
    reason: 'what is stored has another shape than the tuned tensor',
    residualFrobenius: null,
  })
  expect(worst).toMatchObject({ relativeError: null })
  expect(worst.reason).toBeTypeOf('string')
  expect(totals).toMatchObject({ relativeError: null, wholeRelativeError: 0.5 })
  expect(totals.reason).toBeTypeOf('string')
})

test('a change without a size is null, with the reason beside it', () => {
  const { notCarried } = written(verifyResult({ notCarried: [{ name: 'a', reason: 'only in the base' }] }))
  expect(notCarried[0]).toEqual({
    name: 'a',
    reason: 'only in the base',
    relativeChange: null,
    relativeChangeReason: 'the two have no numbers to compare',
  })
})
