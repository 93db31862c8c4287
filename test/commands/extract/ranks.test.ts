import { describe, expect, test } from 'vitest'
import { firstRequest, uniformRanks } from '../../../src/commands/extract/ranks.ts'
import { ownRank, rankRequest } from '../../../src/compress/layer-result.ts'
import type { Spectrum } from '../../../src/linalg/spectrum/spectrum.ts'

/** A spectrum whose leading values are known, of a matrix [rows, columns]. */
const spectrum = (values: number[], rows = 8, columns = 6): Spectrum => ({
  rows,
  columns,
  frobenius: Math.hypot(...values),
  singularValues: Float64Array.from(values),
  complete: false,
  excess: 0,
  next: { atLeast: 0, atMost: 0 },
  epsilon: 2 ** -23,
  method: 'krylov',
  failureProbability: 0,
})

describe('the ranks that rules of one matrix give', () => {
  test('those asked for, down to where only rounding is left', () => {
    const spectra = [spectrum([3, 2, 1]), spectrum([3, 2, 1e-7]), spectrum([]), spectrum([1])]
    expect(spectra.map((one) => ownRank(one, { kind: 'rank' }, {}))).toEqual([3, 2, 0, 1])
    // but not below --min-rank, as far as there is anything
    expect(spectra.map((one) => ownRank(one, { kind: 'rank' }, { minRank: 3 }))).toEqual([3, 3, 0, 1])
  })

  test('what a search for a rank ended at stands', () => {
    expect(ownRank(spectrum([3, 1e-7]), { kind: 'error' }, {})).toBe(2)
    expect(ownRank(spectrum([3, 1e-7]), { kind: 'noise-floor' }, {})).toBe(2)
  })
})

describe('one rank for all', () => {
  test('the largest, as far as each has so many; layers of which too little is known are asked again', () => {
    const spectra = [spectrum([3, 2, 1, 1]), spectrum([3, 2]), spectrum([2, 1, 1], 3, 9), spectrum([])]
    expect(uniformRanks(spectra, [4, 1, 3, 0], {})).toEqual({ asks: [null, rankRequest(4), null, null] })
    const known = spectra.with(1, spectrum([3, 2, 1, 1]))
    expect(uniformRanks(known, [4, 1, 3, 0], {})).toEqual({ ranks: [4, 4, 3, 0] })
  })

  test('none where none was chosen for any', () => {
    expect(uniformRanks([spectrum([3, 2]), spectrum([1])], [0, 0], {})).toEqual({ ranks: [0, 0] })
  })

  test('within the limits', () => {
    const spectra = [spectrum([3, 2, 1, 1]), spectrum([3, 2, 1, 1])]
    expect(uniformRanks(spectra, [3, 1], { multipleOf: 2 })).toEqual({ ranks: [4, 4] })
    expect(uniformRanks(spectra, [4, 1], { maxRank: 2 })).toEqual({ ranks: [2, 2] })
  })
})

test('a budget begins with a rank, other rules with themselves', () => {
  expect(firstRequest({ kind: 'budget', bytes: 9 }, { maxRank: 4 }, 7)).toEqual(rankRequest(7))
  const rule = { kind: 'energy', energy: 0.9 } as const
  expect(firstRequest(rule, { maxRank: 4 }, 7)).toEqual({ rule, limits: { maxRank: 4 } })
})
