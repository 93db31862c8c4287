import { afterAll, describe, expect, it } from 'vitest'
import type { HalfMatrix } from '../../src/engine/engine.ts'
import { jsEngine } from '../../src/engine/js/js-engine.ts'
import { multiply as plainMultiply } from '../../src/engine/js/multiply.ts'
import { createWasmEngine } from '../../src/engine/wasm/wasm-engine.ts'
import { identity, type Matrix, matrix, toFloat64, transpose } from '../../src/matrix/matrix.ts'
import { absolute, generator, largestExcess, randomMatrix, sameBits } from './support.ts'

const engine = createWasmEngine()
const types = ['f32', 'f64', 'bf16', 'f16'] as const
type StorageType = (typeof types)[number]

/** The number that half-precision bits stand for, by the formats' definition. */
function halfValue(bits: number, dtype: 'bf16' | 'f16'): number {
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
function stored(rows: number, columns: number, type: StorageType, random: () => number) {
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

afterAll(() => {
  expect(engine.runtime.heap.usedBytes()).toBe(createWasmEngine().runtime.heap.usedBytes())
})

describe('resident', () => {
  for (const type of types) {
    for (const operand of ['f32', 'f64'] as const) {
      it(`multiplies by ${operand} as the float64 truth does, stored as ${type}`, () => {
        const random = generator(11)
        for (const [m, n, b] of [
          [1, 1, 1],
          [7, 5, 3],
          [64, 33, 8],
          [130, 67, 9],
          [300, 530, 9],
          [4700, 20, 3],
          [70, 60, 130],
        ]) {
          const { A, values } = stored(m, n, type, random)
          const X = randomMatrix(n, b, operand, random)
          const Y = randomMatrix(m, b, operand, random)
          const [absA, absX, absY] = [values, X, Y].map(absolute)
          const wideX = toFloat64(X)
          const eps = operand === 'f32' ? 2 ** -23 : 2 ** -52
          const held = engine.resident(A)
          const AX = held.multiply(X)
          expect(AX.data.constructor).toBe(X.data.constructor)
          const bound = plainMultiply(absA, absX)
          expect(largestExcess(AX, plainMultiply(values, wideX), bound, (n + 2) * eps)).toBeLessThanOrEqual(1)
          const AtY = held.multiplyTransposed(Y)
          const truth = transposed(values, toFloat64(Y))
          expect(largestExcess(AtY, truth, transposed(absA, absY), (m + 2) * eps)).toBeLessThanOrEqual(1)
          const normal = held.multiplyNormal(X)
          const normalTruth = transposed(values, plainMultiply(values, wideX))
          const factor = (m + n + 4) * eps
          expect(normal.data.constructor).toBe(X.data.constructor)
          expect(largestExcess(normal, normalTruth, transposed(absA, bound), factor)).toBeLessThanOrEqual(1)
          held.release()
        }
      })
    }

    it(`sums squares in float64, stored as ${type}`, () => {
      const random = generator(12)
      for (const [m, n, r] of [
        [1, 1, 1],
        [3, 7, 2],
        [129, 260, 5],
        [300, 70, 300],
        [33, 515, 0],
      ]) {
        const { A, values } = stored(m, n, type, random)
        const B = randomMatrix(m, r, 'f64', random)
        const C = randomMatrix(r, n, 'f32', random)
        const held = engine.resident(A)
        const oracle = jsEngine.resident(values)
        const exact = oracle.frobeniusSquared()
        expect(Math.abs(held.frobeniusSquared() - exact)).toBeLessThanOrEqual(m * n * 2 ** -52 * exact)
        const residual = oracle.residualSquared(B, C)
        const error = Math.abs(held.residualSquared(B, C) - residual)
        // relative to the sizes that cancel
        const scale = exact + jsEngine.resident(plainMultiply(absolute(B), absolute(C))).frobeniusSquared()
        expect(error).toBeLessThanOrEqual((m * n + r) * 2 ** -52 * scale)
        held.release()
      }
    })
  }

  it('finds the distance of nearly equal matrices without cancellation', () => {
    const random = generator(13)
    const B = randomMatrix(200, 3, 'f64', random)
    const C = randomMatrix(3, 150, 'f64', random)
    const A = plainMultiply(B, C)
    A.data[77] += 2 ** -30
    const held = engine.resident(A)
    expect(held.residualSquared(B, C) / 2 ** -60).toBeCloseTo(1, 5)
    held.release()
  })

  it('widens all 65,536 halves exactly, in both float types, along and across', () => {
    for (const dtype of ['bf16', 'f16'] as const) {
      const data = Uint16Array.from({ length: 65_536 }, (_, bits) => bits)
      for (const operand of ['f32', 'f64'] as const) {
        const held = engine.resident({ rows: 65_536, columns: 1, dtype, data })
        const floats = (values: Iterable<number>) =>
          operand === 'f32' ? Float32Array.from(values) : Float64Array.from(values)
        // a sum that starts from +0 has no −0
        const values = floats(Array.from(data, (bits) => halfValue(bits, dtype) + 0))
        const column = held.multiply(matrix(1, 1, floats([1])))
        expect(column.data.findIndex((x, i) => !Object.is(x, values[i]))).toBe(-1)
        held.release()
        // a finite square, read by rows, so that whole vectors are widened
        const finite = data.map((bits) => (Number.isFinite(halfValue(bits, dtype)) ? bits : 0))
        const square = engine.resident({ rows: 256, columns: 256, dtype, data: finite })
        const I = matrix(256, 256, floats(identity(256).data))
        const expected = matrix(256, 256, floats(Array.from(finite, (bits) => halfValue(bits, dtype) + 0)))
        expect(sameBits(square.multiply(I), expected)).toBe(true)
        expect(sameBits(square.multiplyTransposed(I), transpose(expected))).toBe(true)
        square.release()
      }
    }
  })

  it('has results for empty matrices', () => {
    const held = engine.resident(matrix(0, 3, new Float32Array(0)))
    const X = randomMatrix(3, 2, 'f32', generator(14))
    expect(held.multiply(X)).toEqual(matrix(0, 2, new Float32Array(0)))
    expect(held.multiplyNormal(X)).toEqual(matrix(3, 2, new Float32Array(6)))
    expect(held.frobeniusSquared()).toBe(0)
    held.release()
  })

  it('does nothing once released, and refuses operands that do not fit', () => {
    const held = engine.resident(randomMatrix(4, 3, 'f64', generator(15)))
    const X = randomMatrix(4, 2, 'f64', generator(16))
    expect(() => held.multiply(X)).toThrow("can't multiply: 3 columns on the left, 4 rows on the right")
    expect(() => held.multiplyNormal(X)).toThrow("can't multiply")
    expect(() => held.residualSquared(X, matrix(2, 2, new Float64Array(4)))).toThrow(
      "can't subtract a 4×2 product from a 4×3 matrix",
    )
    held.release()
    held.release()
    expect(() => held.multiplyTransposed(X)).toThrow('this resident matrix has been released')
    expect(() => held.frobeniusSquared()).toThrow('this resident matrix has been released')
  })

  it('agrees with the plain oracle, which has the same interface', () => {
    const random = generator(17)
    const { A } = stored(40, 30, 'bf16', random)
    const X = randomMatrix(30, 4, 'f32', random)
    const [fast, plain] = [engine.resident(A), jsEngine.resident(A)]
    const scale = matrix(40, 4, new Float64Array(160).fill(30))
    expect(largestExcess(fast.multiply(X), plain.multiply(X), scale, 2 ** -20)).toBeLessThanOrEqual(1)
    expect(sameBits(fast.multiply(X), plain.multiply(X))).toBe(false)
    fast.release()
    plain.release()
    expect(() => plain.multiply(X)).toThrow('this resident matrix has been released')
  })
})
