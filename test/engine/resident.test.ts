import { afterAll, describe, expect, it } from 'vitest'
import { jsEngine, multiply as plainMultiply } from '../../src/engine/js/js-engine.ts'
import { createWasmEngine } from '../../src/engine/wasm/wasm-engine.ts'
import { identity, matrix, transpose } from '../../src/linalg/matrix/matrix.ts'
import { halfValue, stored, testResident } from './resident-suite.ts'
import { generator, largestExcess, randomMatrix, sameBits } from './support.ts'

const engine = createWasmEngine()

afterAll(() => {
  expect(engine.runtime.heap.usedBytes()).toBe(createWasmEngine().runtime.heap.usedBytes())
})

describe('resident', () => {
  testResident(engine, {
    products: [
      [1, 1, 1],
      [7, 5, 3],
      [64, 33, 8],
      [130, 67, 9],
      [300, 530, 9],
      [4700, 20, 3],
      [70, 60, 130],
    ],
    sums: [
      [1, 1, 1],
      [3, 7, 2],
      [129, 260, 5],
      [300, 70, 300],
      [33, 515, 0],
    ],
  })

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
