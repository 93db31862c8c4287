import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { inspectDocument } from '../../../src/commands/inspect/document.ts'
import type { InspectResult } from '../../../src/commands/inspect/result.ts'
import { documentOf } from '../../cli/schema.ts'
import { anyResult } from './any-result.ts'
import {
  adapterResult,
  bigResult,
  digitsLlama,
  digitsResult,
  mixedResult,
  powerLaw,
} from './sample-results.ts'

const written = (result: InspectResult) => documentOf(JSON.stringify(inspectDocument(result)), 'inspect-1')

describe('is valid by its schema', () => {
  test.each([digitsResult(), bigResult(1), adapterResult(), adapterResult(2, false), mixedResult()])(
    '%#',
    (result) => {
      expect(written(result).matrices).toHaveLength(result.matrices.length)
    },
  )
  test('whatever the result', () => {
    fc.assert(
      fc.property(anyResult, (result) => {
        written(result)
      }),
      { numRuns: 50 },
    )
  })
})

test('names the figures as scripts expect them', () => {
  const { matrices, ...rest } = written(digitsResult())
  expect(rest.source).toEqual({ path: 'digits-llama/tuned', base: 'digits-llama/base' })
  expect(rest.totals).toMatchObject({ matrices: 23, elements: 337152, bytes: 1348608 })
  expect(rest.costs[4]).toMatchObject({ rank: 16, parameters: 91520, bytes: 366080 })
  for (const matrix of matrices) {
    const reference = digitsLlama[matrix.name]
    expect(matrix).toMatchObject({
      shape: reference.shape,
      rank: reference.delta_matrix_rank_f32,
      energyRanks: reference.rank_for_energy,
      singularValues: reference.delta_singular_values,
      spectral: reference.delta_singular_values[0],
      complete: true,
    })
    expect(Math.abs(matrix.effectiveRank / reference.effective_rank - 1)).toBeLessThan(1e-6)
    expect(matrix).not.toHaveProperty('nullReason')
    expect(matrix).not.toHaveProperty('next')
  }
})

test('what is not known is null, with its range and the reason', () => {
  const [matrix] = written(bigResult(1)).matrices
  expect(matrix).toMatchObject({
    rank: null,
    rankRange: { atMost: 2048 },
    effectiveRank: null,
    energyRanks: { '0.5': null, '0.9': null, '0.95': null, '0.99': null },
    nullReason: 'only the leading 64 of 2,048 singular values were computed; --full computes all',
    complete: false,
    method: 'krylov',
    excess: 1e-4,
  })
  expect(Object.keys(matrix.energyRankRanges)).toEqual(['0.5', '0.9', '0.95', '0.99'])
  expect(matrix.next.atLeast).toBeLessThan(matrix.next.atMost)
})

test('leading values have bounds from above, and so have the figures that are made of the largest', () => {
  const [matrix] = written(bigResult(1)).matrices
  const truth = powerLaw(2048, 0.2, 40)
  expect(matrix.upper).toHaveLength(64)
  for (let i = 0; i < 64; i++) {
    expect(matrix.singularValues[i] - matrix.rounding).toBeLessThanOrEqual(truth[i])
    expect(matrix.upper[i]).toBeGreaterThanOrEqual(truth[i])
  }
  const stable = truth.reduce((sum, s) => sum + s * s, 0) / truth[0] ** 2
  for (const [known, figure, value] of [
    [matrix.spectralInterval, matrix.spectral, truth[0]],
    [matrix.stableRankInterval, matrix.stableRank, stable],
  ]) {
    expect(known.atLeast).toBeLessThanOrEqual(value)
    expect(known.atMost).toBeGreaterThanOrEqual(value)
    expect(figure).toBeGreaterThanOrEqual(known.atLeast)
    expect(figure).toBeLessThanOrEqual(known.atMost)
  }
  const [whole] = written(digitsResult()).matrices
  expect(whole).not.toHaveProperty('upper')
  expect(whole.spectralInterval).toEqual({ atLeast: whole.spectral, atMost: whole.spectral })
  expect(whole.stableRankInterval).toEqual({ atLeast: whole.stableRank, atMost: whole.stableRank })
})

test('a change against a base of zeros is null, with the reason', () => {
  const { matrices } = written(mixedResult())
  expect(matrices[4].base).toEqual({
    dtype: 'f32',
    frobenius: 0,
    relativeChange: null,
    relativeChangeReason: 'the base is all zero',
  })
  expect(matrices[0].base).toEqual({ dtype: 'bf16', frobenius: 45, relativeChange: 0.01 })
})
