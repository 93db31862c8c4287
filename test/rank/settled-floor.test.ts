import { expect, test } from 'vitest'
import { addMultiple } from '../../src/matrix/arithmetic.ts'
import { type HalfDtype, narrowHalf, widenHalf } from '../../src/matrix/half.ts'
import { type Matrix, matrix, toFloat32, toFloat64 } from '../../src/matrix/matrix.ts'
import { type NoiseFloor, noiseFloor, type StoredWeight } from '../../src/rank/noise-floor.ts'
import { leadingValues, settledFloor, thresholdOverEdge } from '../../src/rank/settled-floor.ts'
import { wasmEngine } from '../truncation/engines.ts'
import { type Pair, plantedPair } from './planted.ts'

const stored = (A: Matrix, dtype: HalfDtype | 'f32'): StoredWeight =>
  dtype === 'f32'
    ? { matrix: toFloat32(A), dtype }
    : { matrix: { rows: A.rows, columns: A.columns, dtype, data: narrowHalf(A.data, dtype) }, dtype }

const wide = ({ matrix: A }: StoredWeight): Matrix =>
  toFloat64('dtype' in A ? matrix(A.rows, A.columns, widenHalf(A.data, A.dtype)) : A)

/** How many of the planted directions stand above the floor that the dtypes give, and above the settled one. */
function counted({ base, tuned }: Pair, [ofBase, ofTuned]: readonly (HalfDtype | 'f32')[]) {
  const [B, T] = [stored(base, ofBase), stored(tuned, ofTuned)]
  const noise = noiseFloor(B, T)
  const S = wasmEngine.svd(addMultiple(wide(T), wide(B), -1), 'none').S
  const known = leadingValues(
    base.rows,
    base.columns,
    S.reduce((sum, s) => sum + s * s, 0),
    S,
  )
  const settled = settledFloor(noise, known)
  return { plain: known.above(noise.floor), settled: known.above(settled), noise, floor: settled }
}

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
        const { plain, settled } = counted(pair, [ofBase, ofTuned])
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
  const { plain, settled, noise } = counted(pair, ['bf16', 'bf16'])
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
    expect(counted(pair, ['f32', 'bf16']).settled).toBe(0)
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
