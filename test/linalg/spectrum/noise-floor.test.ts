import { expect, test } from 'vitest'
import { jsEngine } from '../../../src/engine/js/js-engine.ts'
import { type HalfDtype, narrowHalf, widenHalf } from '../../../src/linalg/matrix/half.ts'
import {
  type HalfMatrix,
  type Matrix,
  matrix,
  toFloat32,
  toFloat64,
  zeros,
} from '../../../src/linalg/matrix/matrix.ts'
import { addMultiple } from '../../../src/linalg/matrix/norms.ts'
import { noiseFloor, type RoundedDtype, type StoredWeight } from '../../../src/linalg/spectrum/noise-floor.ts'
import { torchNormals } from '../../../src/random/torch.ts'
import { wasmEngine } from '../truncation/engines.ts'

const normals = (rows: number, columns: number, seed: number, deviation: number) =>
  matrix(
    rows,
    columns,
    torchNormals(seed)
      .normals(rows * columns, 'f64')
      .map((x) => x * deviation),
  )

const half = (A: Matrix, dtype: HalfDtype): StoredWeight => ({
  matrix: { rows: A.rows, columns: A.columns, dtype, data: narrowHalf(A.data, dtype) },
  dtype,
})
const single = (A: Matrix): StoredWeight => ({ matrix: toFloat32(A), dtype: 'f32' })
const wide = (A: Matrix | HalfMatrix): Matrix =>
  'dtype' in A ? matrix(A.rows, A.columns, widenHalf(A.data, A.dtype)) : A

const delta = (base: StoredWeight, tuned: StoredWeight) =>
  addMultiple(toFloat64(wide(tuned.matrix)), toFloat64(wide(base.matrix)), -1)
const singularValues = (A: Matrix) => wasmEngine.svd(A, 'none').S
const above = (S: Float64Array, floor: number) => S.filter((s) => s > floor).length

/** A product of rank r whose entries have about the given root mean square. */
function lowRank(rows: number, columns: number, r: number, rms: number, seed: number): Matrix {
  const B = normals(rows, r, seed, rms / Math.sqrt(r))
  return jsEngine.multiply(B, normals(r, columns, seed + 1, 1))
}

test('the edge of evenly rounded weights is the Marchenko–Pastur edge', () => {
  // All weights in [1, 2): one unit is 2⁻⁷ in bfloat16, 2⁻¹⁰ in float16, 2⁻²³ in float32.
  const ones = matrix(300, 200, new Float64Array(60000).fill(1.5))
  const changed = matrix(300, 200, new Float64Array(60000).fill(1.25))
  const sides = (Math.sqrt(300) + Math.sqrt(200)) / Math.sqrt(12)
  for (const [dtype, ulp] of [
    ['bf16', 2 ** -7],
    ['f16', 2 ** -10],
  ] as const) {
    const both = noiseFloor(half(ones, dtype), half(changed, dtype))
    expect(both.edge).toBeCloseTo(Math.SQRT2 * ulp * sides, 12)
    expect(both.floor).toBe(1.25 * both.edge)
    expect(both).toMatchObject({ changedShare: 1, isSubUlp: false })
    // Beside float32's own rounding, less than a millionth of the variance.
    const one = noiseFloor(single(ones), half(changed, dtype))
    expect(one.edge / (ulp * sides)).toBeCloseTo(1, 5)
  }
  expect(noiseFloor(single(ones), single(changed)).edge).toBeCloseTo(Math.SQRT2 * 2 ** -23 * sides, 12)
})

test('every dtype has its own unit, down to its subnormal numbers', () => {
  const one = (value: number, dtype: RoundedDtype) => {
    const weight = (x: number): StoredWeight => ({ matrix: matrix(1, 1, Float64Array.of(x)), dtype })
    // a row of one entry: both roots are √2·ulp/√12
    return noiseFloor(weight(0), weight(value)).edge
  }
  const unit = (ulp: number, ulpOfZero: number) => 2 * Math.sqrt((ulp ** 2 + ulpOfZero ** 2) / 12)
  expect(one(3, 'bf16') / unit(2 ** -6, 0)).toBeCloseTo(1, 12)
  expect(one(3, 'f16') / unit(2 ** -9, 2 ** -24)).toBeCloseTo(1, 12)
  expect(one(2 ** -20, 'f16') / unit(2 ** -24, 2 ** -24)).toBeCloseTo(1, 12)
  expect(one(3, 'f8_e4m3') / unit(2 ** -2, 2 ** -9)).toBeCloseTo(1, 12)
  expect(one(3, 'f8_e5m2') / unit(2 ** -1, 2 ** -16)).toBeCloseTo(1, 12)
  expect(one(3, 'f32') / unit(2 ** -22, 0)).toBeCloseTo(1, 12)
  expect(one(3, 'f64') / unit(2 ** -51, 0)).toBeCloseTo(1, 12)
})

test('identical checkpoints: no noise, rank 0', () => {
  const W = half(normals(64, 48, 1, 0.02), 'bf16')
  expect(noiseFloor(W, W)).toEqual({ floor: 0, spread: 0, edge: 0, changedShare: 0, isSubUlp: false })
  expect(above(singularValues(delta(W, W)), 0)).toBe(0)
  expect(noiseFloor(half(zeros(0, 3), 'bf16'), half(zeros(0, 3), 'bf16')).floor).toBe(0)
})

test('0 and −0 are the same weight', () => {
  const zero = half(matrix(1, 2, Float64Array.of(0, 1)), 'bf16')
  const minus = half(matrix(1, 2, Float64Array.of(-0, 1)), 'bf16')
  expect(noiseFloor(zero, minus).changedShare).toBe(0)
  expect(noiseFloor(single(wide(zero.matrix)), single(wide(minus.matrix))).changedShare).toBe(0)
})

test.each([2, 2.7, 13.5, 55])(
  'a bfloat16 delta of rank 8, %f units large: 8 values above the floor',
  (units) => {
    const [rows, columns, deviation] = [1024, 768, 0.02]
    const W = normals(rows, columns, 3, deviation)
    const base = half(W, 'bf16')
    // σ_N = 1.66·10⁻³·s for N(0, s²) weights in bfloat16, hence one unit is √12 times that
    const ulp = Math.sqrt(12) * 1.66e-3 * deviation
    const low = lowRank(rows, columns, 8, units * ulp, 4)
    const tuned = half(addMultiple(toFloat64(wide(base.matrix)), low, 1), 'bf16')
    const { floor, edge, isSubUlp } = noiseFloor(base, tuned)
    const S = singularValues(delta(base, tuned))
    expect(above(S, floor)).toBe(8)
    expect(isSubUlp).toBe(false)
    // One side was rounded here, and two are counted.
    expect(S[8]).toBeLessThan(1.25 * (edge / Math.SQRT2))
    expect(S[8]).toBeGreaterThan(0.9 * (edge / Math.SQRT2))
  },
)

test('rounding alone, of one side or both, has nothing above the floor', () => {
  const W = normals(384, 256, 5, 0.02)
  // far below one unit of float32, but enough to make both roundings differ
  const shift = normals(384, 256, 6, 1e-4)
  const moved = addMultiple(W, shift, 1)
  for (const dtype of ['bf16', 'f16'] as const) {
    const pairs: [StoredWeight, StoredWeight][] = [
      [single(W), half(W, dtype)],
      [half(W, dtype), single(W)],
    ]
    for (const [base, tuned] of pairs) {
      const { floor } = noiseFloor(base, tuned)
      expect(above(singularValues(delta(base, tuned)), floor)).toBe(0)
    }
  }
  const [base, tuned] = [half(W, 'bf16'), half(moved, 'bf16')]
  const trueDelta = singularValues(shift)
  const S = singularValues(delta(base, tuned))
  const { floor, edge } = noiseFloor(base, tuned)
  // two independent roundings beside a change as large as they are (Weyl)
  expect(S[0]).toBeLessThan(trueDelta[0] + 1.05 * edge)
  expect(floor).toBeGreaterThan(edge)
})

test('weights of uneven rows: a large row has its own noise, which is below the floor', () => {
  const W = normals(256, 192, 7, 0.02)
  for (let j = 0; j < 192; j++) W.data[3 * 192 + j] *= 50
  const [base, tuned] = [single(W), half(W, 'bf16')]
  const S = singularValues(delta(base, tuned))
  const { floor } = noiseFloor(base, tuned)
  expect(above(S, floor)).toBe(0)
  // The edge of the mean variance would call it signal.
  const variance = S.reduce((sum, s) => sum + s * s, 0) / (256 * 192)
  expect(S[0]).toBeGreaterThan(1.25 * Math.sqrt(variance) * (Math.sqrt(256) + Math.sqrt(192)))
})

test('a float32 fine-tune of a bfloat16 base: less than the rounding of the base is still a change', () => {
  const base = half(normals(256, 192, 8, 0.02), 'bf16')
  const low = lowRank(256, 192, 3, 2e-6, 9)
  const tuned = single(addMultiple(toFloat64(wide(base.matrix)), low, 1))
  const { floor, isSubUlp } = noiseFloor(base, tuned)
  expect(isSubUlp).toBe(false)
  expect(above(singularValues(delta(base, tuned)), floor)).toBe(3)
})

test('changes below one unit are flagged', () => {
  const base = half(normals(256, 192, 10, 0.02), 'bf16')
  const ulp = Math.sqrt(12) * 1.66e-3 * 0.02
  const tiny = lowRank(256, 192, 4, 0.3 * ulp, 11)
  const { changedShare, isSubUlp } = noiseFloor(
    base,
    half(addMultiple(toFloat64(wide(base.matrix)), tiny, 1), 'bf16'),
  )
  expect(changedShare).toBeGreaterThan(0.05)
  expect(isSubUlp).toBe(true)
})

test('rows that did not change hold no rounding', () => {
  const W = normals(200, 64, 12, 0.02)
  const grown = matrix(200, 64, W.data.slice())
  for (let j = 0; j < 64; j++) grown.data[5 * 64 + j] += 0.01
  const few = noiseFloor(half(W, 'bf16'), half(grown, 'bf16'))
  const row = (A: Matrix) => half(matrix(1, 64, A.data.slice(5 * 64, 6 * 64) as Float64Array), 'bf16')
  expect(few.edge).toBe(noiseFloor(row(W), row(grown)).edge)
  expect(few.changedShare).toBeCloseTo(1 / 200, 3)
})

test('the types say nothing of how the numbers are held', () => {
  const [W, V] = [normals(40, 30, 13, 0.02), normals(40, 30, 14, 0.02)]
  for (const dtype of ['bf16', 'f16'] as const) {
    const [base, tuned] = [half(W, dtype), half(V, dtype)]
    const held = (side: StoredWeight) => ({ matrix: wide(side.matrix), dtype })
    expect(noiseFloor(held(base), held(tuned)).edge).toBeCloseTo(noiseFloor(base, tuned).edge, 14)
    expect(noiseFloor(held(base), tuned).changedShare).toBe(noiseFloor(base, tuned).changedShare)
  }
})

test('weights of different shapes are refused', () => {
  expect(() => noiseFloor(single(zeros(2, 3)), single(zeros(3, 2)))).toThrow(
    "can't compare 2×3 with 3×2 weights",
  )
})
