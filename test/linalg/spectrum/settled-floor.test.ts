import { expect, test } from 'vitest'
import type { NoiseFloor } from '../../../src/linalg/spectrum/noise-floor.ts'
import { leadingValues, settledFloor, thresholdOverEdge } from '../../../src/linalg/spectrum/settled-floor.ts'
import { plantedPair } from './planted.ts'
import { counted } from './planted-count.ts'

const PAIRS = [
  ['bf16', 'bf16'],
  ['bf16', 'f32'],
  ['f32', 'bf16'],
  ['f16', 'f16'],
  ['f32', 'f32'],
] as const

test.each(PAIRS.flatMap((dtypes) => [true, false].map((isExact) => [...dtypes, isExact] as const)))(
  '%s → %s, exact base %s: never fewer of the planted directions than by the dtypes, and none that was not planted',
  (ofBase, ofTuned, isExact) => {
    for (const rank of [1, 4]) {
      for (const strength of [0.5, 1, 2, 8]) {
        const pair = plantedPair(160, 128, { ofBase, ofTuned, isExact, rank, strength, seed: 7 + rank })
        const { plain, settled } = counted(pair, ofBase, ofTuned)
        expect(settled).toBeGreaterThanOrEqual(plain)
        expect(settled).toBeLessThanOrEqual(rank)
        if (strength >= 2) expect(settled).toBe(rank)
      }
    }
  },
)

test('eight directions at one to two edges, most entries unmoved: all are seen, where the dtypes alone show few', () => {
  const pair = plantedPair(384, 256, {
    ofBase: 'bf16',
    ofTuned: 'bf16',
    isExact: true,
    rank: 8,
    strength: 1,
    seed: 3,
  })
  const { plain, settled, noise } = counted(pair, 'bf16', 'bf16')
  expect(noise.isSubUlp).toBe(true)
  expect(plain).toBeLessThan(8)
  expect(settled).toBe(8)
})

test('rounding alone stays below', () => {
  for (const seed of [1, 2, 3]) {
    const pair = plantedPair(96, 64, {
      ofBase: 'f32',
      ofTuned: 'bf16',
      isExact: false,
      rank: 1,
      strength: 0,
      seed,
    })
    expect(counted(pair, 'f32', 'bf16').settled).toBe(0)
  }
})

const noise = (floor: number, spread: number): Pick<NoiseFloor, 'floor' | 'spread'> => ({ floor, spread })

test('is that of the dtypes at most, and stays where the energy is as much as they say', () => {
  const S = Float64Array.from([10, 3, 3, 3, 3, 3, 3, 3])
  const energy = S.reduce((sum, s) => sum + s * s, 0)
  expect(settledFloor(noise(4, 1), leadingValues(8, 8, energy, S))).toBe(4)
  expect(settledFloor(noise(4, Number.POSITIVE_INFINITY), leadingValues(8, 8, energy, S))).toBe(4)
  expect(settledFloor(noise(0, 0), leadingValues(8, 8, 0, new Float64Array(0)))).toBe(0)
})

test('the leading values and ‖Δ‖ give the floor of all values', () => {
  const S = Float64Array.from({ length: 64 }, (_, i) => (i < 5 ? 40 - 4 * i : 1 - i / 128))
  const energy = S.reduce((sum, s) => sum + s * s, 0)
  const all = settledFloor(noise(30, 0.25), leadingValues(64, 64, energy, S))
  const some = settledFloor(noise(30, 0.25), leadingValues(64, 64, energy, S.subarray(0, 6)))
  expect(some).toBeCloseTo(all, 12)
  expect(S.filter((s) => s > all)).toHaveLength(5)
})

test('the threshold of Gavish & Donoho: 4/√3 for a square, √2 for a thin matrix', () => {
  expect(2 * thresholdOverEdge(9, 9)).toBeCloseTo(4 / Math.sqrt(3), 12)
  expect(thresholdOverEdge(1e12, 1)).toBeCloseTo(Math.SQRT2, 4)
})
