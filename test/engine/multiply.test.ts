import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { gram as plainGram, multiply as plainMultiply } from '../../src/engine/js/multiply.ts'
import { gram, multiply } from '../../src/engine/wasm/products.ts'
import { createWasmRuntime } from '../../src/engine/wasm/runtime.ts'
import { type Matrix, toFloat64, transpose } from '../../src/matrix/matrix.ts'
import { absolute, generator, largestExcess, randomMatrix } from './support.ts'

const runtime = createWasmRuntime()
const sides = [1, 2, 3, 5, 13, 31, 64, 65, 127]

/** The textbook bound for a sum of k products: |error| ≤ k·eps·|A|·|B|, with room for the last rounding. */
function expectProduct(C: Matrix, A: Matrix, B: Matrix, k: number): void {
  const truth = plainMultiply(toFloat64(A), toFloat64(B))
  const scale = plainMultiply(absolute(A), absolute(B))
  const eps = C.data instanceof Float32Array ? 2 ** -23 : 2 ** -52
  expect([C.rows, C.columns]).toEqual([truth.rows, truth.columns])
  expect(largestExcess(C, truth, scale, (k + 1) * eps)).toBeLessThanOrEqual(1)
}

describe('multiply', () => {
  for (const type of ['f32', 'f64', 'f32·f64'] as const) {
    it(`is within k·eps of the float64 truth at every edge, ${type}`, () => {
      const random = generator(1)
      const [left, right] = type === 'f32·f64' ? (['f32', 'f64'] as const) : ([type, type] as const)
      for (const m of sides) {
        for (const n of sides) {
          for (const k of [1, 33, 65, 127]) {
            const A = randomMatrix(m, k, left, random)
            const B = randomMatrix(k, n, right, random)
            const C = multiply(runtime, A, B)
            expect(C.data).toBeInstanceOf(type === 'f32' ? Float32Array : Float64Array)
            expectProduct(C, A, B, k)
          }
        }
      }
    })
  }

  it('gives the same bits with transposed operands', () => {
    const random = generator(2)
    for (const type of ['f32', 'f64'] as const) {
      for (const [m, n, k] of [
        [33, 65, 129],
        [130, 70, 600],
        [1, 300, 257],
        [300, 1, 1025],
      ]) {
        const A = randomMatrix(m, k, type, random)
        const B = randomMatrix(k, n, type, random)
        const C = multiply(runtime, A, B)
        const [At, Bt] = [transpose(A), transpose(B)]
        expect(multiply(runtime, At, B, { transposeA: true })).toEqual(C)
        expect(multiply(runtime, A, Bt, { transposeB: true })).toEqual(C)
        expect(multiply(runtime, At, Bt, { transposeA: true, transposeB: true })).toEqual(C)
      }
    }
  })

  it('holds its bound on random shapes', () => {
    const side = fc.integer({ min: 1, max: 140 })
    fc.assert(
      fc.property(side, side, side, fc.integer(), fc.boolean(), (m, n, k, seed, single) => {
        const random = generator(seed)
        const A = randomMatrix(m, k, single ? 'f32' : 'f64', random)
        const B = randomMatrix(k, n, single ? 'f32' : 'f64', random)
        expectProduct(multiply(runtime, A, B), A, B, k)
      }),
      { numRuns: 60 },
    )
  })
})

describe('gram', () => {
  it('is exactly symmetric and within m·eps64 of the truth, also of float32 data', () => {
    const random = generator(3)
    for (const type of ['f32', 'f64'] as const) {
      for (const [m, n] of [
        [1, 200],
        [600, 33],
        [257, 129],
        [1030, 64],
        [100, 600],
      ]) {
        const A = randomMatrix(m, n, type, random)
        const G = gram(runtime, A)
        expect(transpose(G)).toEqual(G)
        expect(
          largestExcess(G, plainGram(A), plainGram(absolute(A)), (m + 1) * 2 ** -52),
        ).toBeLessThanOrEqual(1)
      }
    }
  })
})
