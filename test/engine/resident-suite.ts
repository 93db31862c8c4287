import { expect, it } from 'vitest'
import { jsEngine, multiply as plainMultiply } from '../../src/engine/js/js-engine.ts'
import type { Engine, HalfMatrix } from '../../src/linalg/engine.ts'
import { type Matrix, matrix, toFloat64 } from '../../src/linalg/matrix/matrix.ts'
import { EPS } from '../linalg/svd/support.ts'
import { absolute, generator, largestExcess, randomMatrix } from './support.ts'

const types = ['f32', 'f64', 'bf16', 'f16'] as const
type StorageType = (typeof types)[number]

/** The number that half-precision bits stand for, by the formats' definition. */
export function halfValue(bits: number, dtype: 'bf16' | 'f16'): number {
  const [exponentBits, fractionBits] = dtype === 'bf16' ? [8, 7] : [5, 10]
  const sign = bits >> 15 === 0 ? 1 : -1
  const largest = 2 ** exponentBits - 1
  const exponent = (bits >> fractionBits) & largest
  const fraction = (bits & (2 ** fractionBits - 1)) / 2 ** fractionBits
  const bias = 2 ** (exponentBits - 1) - 1
  if (exponent === largest) return fraction === 0 ? sign * Infinity : Number.NaN
  if (exponent === 0) return sign * fraction * 2 ** (1 - bias)
  return sign * (1 + fraction) * 2 ** (exponent - bias)
}

/** A random matrix stored as `type`, and the same numbers in float64. */
export function stored(rows: number, columns: number, type: StorageType, random: () => number) {
  if (type === 'f32' || type === 'f64') {
    const A = randomMatrix(rows, columns, type, random)
    return { A, values: toFloat64(A) }
  }
  // bits of numbers of magnitude 2⁻⁶ … 1, either sign
  const step = type === 'bf16' ? 2 ** 7 : 2 ** 10
  const one = type === 'bf16' ? 127 * step : 15 * step
  const pick = () => {
    const magnitude = one - Math.floor(Math.abs(random()) * 6 * step)
    return random() < 0 ? magnitude | 0x8000 : magnitude
  }
  const data = Uint16Array.from({ length: rows * columns }, pick)
  const A: HalfMatrix = { rows, columns, dtype: type, data }
  return {
    A,
    values: matrix(
      rows,
      columns,
      Float64Array.from(data, (bits) => halfValue(bits, type)),
    ),
  }
}

const transposed = (A: Matrix, B: Matrix) => plainMultiply(A, B, { transposeA: true })

/** Rows, columns, and the width of the operand or the rank of the factors. */
type Size = readonly [number, number, number]

/** Tests of a resident matrix in every storage type, against float64 truth, at the sizes that matter to `engine`. */
export function testResident(
  engine: Engine,
  sizes: { readonly products: readonly Size[]; readonly sums: readonly Size[] },
): void {
  for (const type of types) {
    for (const operand of ['f32', 'f64'] as const) {
      it(`multiplies by ${operand} as the float64 truth does, stored as ${type}`, () => {
        const random = generator(11)
        for (const [m, n, b] of sizes.products) {
          const { A, values } = stored(m, n, type, random)
          const X = randomMatrix(n, b, operand, random)
          const Y = randomMatrix(m, b, operand, random)
          const [absA, absX, absY] = [values, X, Y].map(absolute)
          const wideX = toFloat64(X)
          const eps = operand === 'f32' ? 2 ** -23 : EPS
          const held = engine.resident(A)
          expect([held.rows, held.columns]).toEqual([m, n])
          const AX = held.multiply(X)
          const bound = plainMultiply(absA, absX)
          expect(largestExcess(AX, plainMultiply(values, wideX), bound, (n + 2) * eps)).toBeLessThanOrEqual(1)
          const AtY = held.multiplyTransposed(Y)
          const truth = transposed(values, toFloat64(Y))
          expect(largestExcess(AtY, truth, transposed(absA, absY), (m + 2) * eps)).toBeLessThanOrEqual(1)
          const normal = held.multiplyNormal(X)
          const normalTruth = transposed(values, plainMultiply(values, wideX))
          const factor = (m + n + 4) * eps
          expect(largestExcess(normal, normalTruth, transposed(absA, bound), factor)).toBeLessThanOrEqual(1)
          for (const product of [AX, AtY, normal]) expect(product.data.constructor).toBe(X.data.constructor)
          held.release()
        }
      })
    }

    it(`sums squares in float64, stored as ${type}`, () => {
      const random = generator(12)
      for (const [m, n, r] of sizes.sums) {
        const { A, values } = stored(m, n, type, random)
        const B = randomMatrix(m, r, 'f64', random)
        const C = randomMatrix(r, n, 'f32', random)
        const held = engine.resident(A)
        const oracle = jsEngine.resident(values)
        const exact = oracle.frobeniusSquared()
        expect(Math.abs(held.frobeniusSquared() - exact)).toBeLessThanOrEqual(m * n * EPS * exact)
        const residual = oracle.residualSquared(B, C)
        const error = Math.abs(held.residualSquared(B, C) - residual)
        // relative to the sizes that cancel
        const scale = exact + jsEngine.resident(plainMultiply(absolute(B), absolute(C))).frobeniusSquared()
        expect(error).toBeLessThanOrEqual((m * n + r) * EPS * scale)
        held.release()
      }
    })
  }
}
