import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { arcTangent, exponential, naturalLog, sinCos } from '../../src/random/portable-math.ts'
import { mt19937 } from '../../src/random/torch.ts'

/** Rows of x, then for each function its value by mpmath as a float64 and what that rounding left over. */
const goldens: { ln: number[][]; exp: number[][]; sinCos: number[][] } = JSON.parse(
  readFileSync(new URL('../fixtures/portable-math.json', import.meta.url), 'utf8'),
)
const POINTS = 100_000
/** V8's own functions are within 1 ulp of the truth, and so are ours. */
const ULPS_FROM_V8 = 2
/** One rounding is ½ ulp; what the reduction and the series add stays under as much again. */
const ULPS_FROM_TRUTH = 1

function ulp(x: number): number {
  if (Math.abs(x) < 2 ** -1022) return 2 ** -1074
  const bits = new BigUint64Array(Float64Array.of(Math.abs(x)).buffer)
  return new Float64Array(BigUint64Array.of(bits[0] + 1n).buffer)[0] - Math.abs(x)
}

function sinAndCos(x: number): [sine: number, cosine: number] {
  const out = new Float64Array(2)
  sinCos(x, out)
  return [out[0], out[1]]
}

function uniforms(seed: number): number[] {
  const word = mt19937(seed)
  return Array.from({ length: POINTS }, () => (word() + 0.5) / 2 ** 32)
}

describe('naturalLog', () => {
  test('is within 1 ulp of mpmath, near 1, at powers of 2 and at the ends of the range', () => {
    for (const [x, high, low] of goldens.ln) {
      const error = Math.abs(naturalLog(x) - high - low)
      expect(error, `ln(${x})`).toBeLessThan(ULPS_FROM_TRUTH * ulp(high))
    }
    expect(naturalLog(1)).toBe(0)
  })

  test('is within 2 ulp of Math.log at 100 000 points of (0, 1) and near 1', () => {
    let worst = 0
    for (const u of uniforms(1)) {
      for (const x of [u, 1 - u * 2 ** -20]) {
        const expected = Math.log(x)
        worst = Math.max(worst, Math.abs(naturalLog(x) - expected) / ulp(expected))
      }
    }
    expect(worst).toBeLessThanOrEqual(ULPS_FROM_V8)
  })

  test.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY])('refuses %d', (x) => {
    expect(() => naturalLog(x)).toThrow(new RangeError(`no logarithm of ${x}`))
  })
})

describe('exponential', () => {
  test('is within 1 ulp of mpmath, from 0 to the end of the range', () => {
    expect(goldens.exp.length).toBeGreaterThan(300)
    for (const [x, high, low] of goldens.exp) {
      const error = Math.abs(exponential(x) - high - low)
      expect(error, `exp(${x})`).toBeLessThan(ULPS_FROM_TRUTH * ulp(high))
    }
    expect(exponential(0)).toBe(1)
  })

  test('refuses what it is not made for', () => {
    for (const x of [-1, 710, Number.NaN]) expect(() => exponential(x)).toThrow(RangeError)
  })
})

describe('sinCos', () => {
  test('is within 1 ulp of mpmath, also where one of the two is nearly 0', () => {
    for (const [x, sinHigh, sinLow, cosHigh, cosLow] of goldens.sinCos) {
      const [sine, cosine] = sinAndCos(x)
      expect(Math.abs(sine - sinHigh - sinLow), `sin(${x})`).toBeLessThan(ULPS_FROM_TRUTH * ulp(sinHigh))
      expect(Math.abs(cosine - cosHigh - cosLow), `cos(${x})`).toBeLessThan(ULPS_FROM_TRUTH * ulp(cosHigh))
    }
    expect(sinAndCos(0)).toEqual([0, 1])
  })

  test('is within 2 ulp of Math.sin and Math.cos at 100 000 points of a turn', () => {
    let worst = 0
    for (const u of uniforms(2)) {
      const x = 2 * Math.PI * u
      const [sine, cosine] = sinAndCos(x)
      worst = Math.max(worst, Math.abs(sine - Math.sin(x)) / ulp(Math.sin(x)))
      worst = Math.max(worst, Math.abs(cosine - Math.cos(x)) / ulp(Math.cos(x)))
    }
    expect(worst).toBeLessThanOrEqual(ULPS_FROM_V8)
  })

  test.each([-1e-300, 6.283185307179587, Number.NaN])('refuses %d', (x) => {
    expect(() => sinAndCos(x)).toThrow(new RangeError(`the angle must be in [0, 2π], got ${x}`))
  })
})

describe('arcTangent', () => {
  test('is within 2 ulp of Math.atan at 100 000 points, and at the ends of its reductions', () => {
    let worst = 0
    const ends = [1, 3, 5, 7].map((odd) => Math.tan((odd * Math.PI) / 16))
    const points = uniforms(3).flatMap((u) => [u, 1 / u, u * 2 ** -30])
    for (const x of [...points, ...ends, ...ends.map((end) => end * (1 - 2 ** -52)), 1e-300, 1e300]) {
      const expected = Math.atan(x)
      worst = Math.max(worst, Math.abs(arcTangent(x) - expected) / ulp(expected))
    }
    expect(worst).toBeLessThanOrEqual(ULPS_FROM_V8)
  })

  test('of 0, 1 and infinity is 0, π/4 and π/2', () => {
    expect([0, 1, Number.POSITIVE_INFINITY].map(arcTangent)).toEqual([0, Math.PI / 4, Math.PI / 2])
  })
})
