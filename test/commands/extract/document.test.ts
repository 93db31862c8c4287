import fc from 'fast-check'
import { expect, test } from 'vitest'
import { extractDocument } from '../../../src/commands/extract/document.ts'
import type { ExtractResult } from '../../../src/commands/extract/result.ts'
import { documentOf } from '../../cli/schema.ts'
import { anyExtractResult } from './any-result.ts'
import { digitsLayers, mixedResult, normsLeft, resultOf } from './sample-results.ts'

const written = (result: ExtractResult) => documentOf(JSON.stringify(extractDocument(result)), 'extract-1')

test('is valid by its schema, whatever the result', () => {
  for (const result of [resultOf(digitsLayers(16)), resultOf([]), mixedResult()]) written(result)
  fc.assert(
    fc.property(anyExtractResult, (result) => {
      expect(written(result).layers).toHaveLength(result.layers.length)
    }),
    { numRuns: 50 },
  )
})

test('names the figures as scripts expect them', () => {
  const { layers, totals, ...rest } = written(resultOf(digitsLayers(16), { notCarried: normsLeft }))
  expect(layers[2]).toMatchObject({
    name: 'model.layers.0.mlp.down_proj.weight',
    shape: [96, 256],
    dtype: 'f32',
    rank: 16,
    storedRank: 16,
    seconds: 0.25,
  })
  expect(layers[2].optimalError.atLeast).toBeLessThan(layers[2].optimalError.atMost)
  expect(layers[2].relativeError).toBeLessThanOrEqual(layers[2].optimalError.atMost)
  expect(totals).toMatchObject({ layers: 23, parameters: 337152, adapterParameters: 91520 })
  expect(totals.relativeError).toBeLessThan(totals.wholeRelativeError)
  expect(rest).toMatchObject({
    rule: { kind: 'rank', rank: 16 },
    output: { path: 'adapters/tuned-r16', format: 'peft' },
    verdict: 'partly low-rank: rank 16 keeps 93.6 % of the change',
    holds: true,
    engine: 'wasm',
  })
  expect(rest.notCarried[0]).toEqual({
    name: 'model.layers.0.input_layernorm.weight',
    reason: 'not a matrix: a norm, a bias or a number',
    relativeChange: 0.001,
    deltaFrobenius: 0.01,
  })
})

test('what can’t be a number is null, with the reason beside it', () => {
  const { layers, saved, notCarried } = written(mixedResult())
  expect(layers[5]).toMatchObject({ relativeChange: null, relativeChangeReason: 'the base is all zero' })
  expect(saved[1]).toMatchObject({
    relativeError: null,
    reason: 'base and tuned are equal here, and the adapter changes it',
  })
  expect(notCarried[24]).toEqual({
    name: 'lm_head.weight',
    reason: 'the vocabulary has grown',
    relativeChange: null,
    relativeChangeReason: 'the two have no numbers to compare',
  })
})
