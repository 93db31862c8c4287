import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { secularRoot } from '../../../src/linalg/svd/secular.ts'
import { EPS } from './support.ts'

function roots(d: number[], z: number[], rho: number) {
  const norm = Math.hypot(...z)
  const problem = {
    d: Float64Array.from(d),
    z2: Float64Array.from(z, (x) => (x / norm) ** 2),
    rho,
  }
  const delta = d.map(() => new Float64Array(d.length))
  return { problem, delta, values: d.map((_, j) => secularRoot(problem, j, delta[j])) }
}

describe('secularRoot', () => {
  test('order 1 and 2 in closed form', () => {
    expect(roots([3], [1], 2).values).toEqual([5])
    // diag(0, 1) + 1·zzᵀ with z = (1, 1)/√2 has eigenvalues 1 ∓ √½.
    const { values } = roots([0, 1], [1, 1], 1)
    expect(values[0]).toBeCloseTo(1 - Math.SQRT1_2, 15)
    expect(values[1]).toBeCloseTo(1 + Math.SQRT1_2, 15)
  })

  test('roots interlace the poles, and f changes sign within a few units of rounding around each', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 50 }), fc.integer({ min: 0, max: 26 })), {
          minLength: 2,
          maxLength: 40,
        }),
        fc.double({ min: 1e-6, max: 1e6, noNaN: true }),
        (steps, rho) => {
          // Gaps from 2⁻⁵⁰ to 1 and weights from 2⁻²⁶ to 1, all above what deflation leaves in.
          let pole = 0
          const d = steps.map(([gap]) => {
            pole += 2 ** -gap
            return pole
          })
          fc.pre(d.every((x, i) => i === 0 || x - d[i - 1] > 4 * EPS * pole))
          const { problem, delta, values } = roots(
            d,
            steps.map(([, weight]) => 2 ** -weight),
            rho,
          )
          values.forEach((_value, j) => {
            // Below the root every pole up to j is negative, and every later one positive.
            delta[j].forEach((x, i) => {
              expect(i <= j ? x < 0 : x > 0).toBe(true)
            })
            let f = 1 / rho
            let size = f
            problem.z2.forEach((z2, i) => {
              f += z2 / delta[j][i]
              size += Math.abs(z2 / delta[j][i])
            })
            expect(Math.abs(f)).toBeLessThanOrEqual(4 * d.length * EPS * size)
          })
        },
      ),
      { numRuns: 200 },
    )
  })
})
