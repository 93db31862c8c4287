import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { jsEngine, gram as plainGram, multiply as plainMultiply } from '../../src/engine/js/js-engine.ts'
import { createWasmEngine } from '../../src/engine/wasm/wasm-engine.ts'
import { narrowHalf, widened } from '../../src/linalg/matrix/half.ts'
import { type HalfMatrix, type Matrix, matrix, toFloat64, transpose } from '../../src/linalg/matrix/matrix.ts'
import { absolute, generator, largestExcess, randomMatrix, sameBits } from './support.ts'

const engine = createWasmEngine()
/** Around and between register tiles (2, 4, 8), packed blocks and the crossover to plain loops. */
const sides = [1, 2, 3, 5, 13, 31, 64, 65, 127]

/** C against float64 truth by the textbook bound for a sum of k products, k·eps·|A|·|B|; ≤ 1 is within. */
function excess(C: Matrix, A: Matrix, B: Matrix): number {
  const truth = plainMultiply(toFloat64(A), toFloat64(B))
  const scale = plainMultiply(absolute(A), absolute(B))
  const eps = C.data instanceof Float32Array ? 2 ** -23 : 2 ** -52
  return largestExcess(C, truth, scale, (A.columns + 1) * eps)
}

describe('multiply', () => {
  for (const [left, right, result] of [
    ['f32', 'f32', Float32Array],
    ['f64', 'f64', Float64Array],
    ['f32', 'f64', Float64Array],
    ['f64', 'f32', Float64Array],
  ] as const) {
    it(`is within k·eps of the float64 truth at every edge: ${left} · ${right}`, () => {
      const random = generator(1)
      for (const m of sides) {
        for (const n of sides) {
          for (const k of [1, 33, 65, 127]) {
            const A = randomMatrix(m, k, left, random)
            const B = randomMatrix(k, n, right, random)
            const C = engine.multiply(A, B)
            expect(C.data).toBeInstanceOf(result)
            expect(excess(C, A, B)).toBeLessThanOrEqual(1)
          }
        }
      }
    })
  }

  for (const dtype of ['bf16', 'f16'] as const) {
    it(`takes ${dtype} as the float64 that it widens to, in products and Gram matrices`, () => {
      const random = generator(3)
      const half = (m: number, n: number): HalfMatrix => {
        const { data } = randomMatrix(m, n, 'f64', random)
        return { rows: m, columns: n, dtype, data: narrowHalf(data, dtype) }
      }
      const wide = (X: HalfMatrix) => toFloat64(widened(X))
      for (const [m, k, n] of [
        [3, 2, 4],
        [65, 300, 31],
        [130, 33, 70],
      ]) {
        const [A, B, single] = [half(m, k), half(k, n), randomMatrix(k, n, 'f32', random)]
        for (const { multiply, gram } of [engine, jsEngine]) {
          expect(sameBits(multiply(A, B), multiply(wide(A), wide(B)))).toBe(true)
          expect(sameBits(multiply(A, single), multiply(wide(A), toFloat64(single)))).toBe(true)
          expect(
            sameBits(
              multiply(single, B, { transposeA: true }),
              multiply(toFloat64(single), wide(B), { transposeA: true }),
            ),
          ).toBe(true)
          for (const of of ['columns', 'rows'] as const)
            expect(sameBits(gram(A, of), gram(wide(A), of))).toBe(true)
        }
      }
    })
  }

  it('holds the bound over several blocks of inner indices, rows and columns', () => {
    const random = generator(2)
    for (const [m, k, n] of [
      [3, 1025, 530],
      [1030, 515, 9],
      [131, 600, 70],
    ]) {
      for (const type of ['f32', 'f64'] as const) {
        const A = randomMatrix(m, k, type, random)
        const B = randomMatrix(k, n, type, random)
        expect(excess(engine.multiply(A, B), A, B)).toBeLessThanOrEqual(1)
      }
    }
  })

  it('rounds exactly as its rule says: inner indices in order, in blocks of 512 (f32) or 256 (f64)', () => {
    const random = generator(9)
    for (const [type, block, round] of [
      ['f32', 512, Math.fround],
      ['f64', 256, (x: number) => x],
    ] as const) {
      const A = randomMatrix(9, 1300, type, random)
      const B = randomMatrix(1300, 21, type, random)
      const expected = matrix(9, 21, A.data.slice(0, 9 * 21).fill(0))
      for (let i = 0; i < 9; i++) {
        for (let j = 0; j < 21; j++) {
          let total = 0
          for (let k0 = 0; k0 < 1300; k0 += block) {
            let sum = 0
            for (let k = k0; k < Math.min(1300, k0 + block); k++) {
              sum = round(sum + round(A.data[i * 1300 + k] * B.data[k * 21 + j]))
            }
            total = round(total + sum)
          }
          expected.data[i * 21 + j] = total
        }
      }
      expect(sameBits(engine.multiply(A, B), expected)).toBe(true)
    }
  })

  it('gives the same bits with transposed operands', () => {
    const random = generator(3)
    for (const type of ['f32', 'f64'] as const) {
      for (const [m, n, k] of [
        [33, 65, 129],
        [130, 70, 600],
        [1, 300, 257],
        [300, 1, 1025],
        [5, 6, 7],
      ]) {
        const A = randomMatrix(m, k, type, random)
        const B = randomMatrix(k, n, type, random)
        const C = engine.multiply(A, B)
        const [At, Bt] = [transpose(A), transpose(B)]
        expect(sameBits(engine.multiply(At, B, { transposeA: true }), C)).toBe(true)
        expect(sameBits(engine.multiply(A, Bt, { transposeB: true }), C)).toBe(true)
        expect(sameBits(engine.multiply(At, Bt, { transposeA: true, transposeB: true }), C)).toBe(true)
      }
    }
  })

  it('gives the same bits in slabs: a left operand longer than one of 64 MiB', () => {
    const random = generator(4)
    const tall = matrix(9_000_000, 2, new Float32Array(18_000_000))
    const period = randomMatrix(45_001, 2, 'f32', random).data
    for (let i = 0; i + period.length <= tall.data.length; i += period.length) tall.data.set(period, i)
    const B = randomMatrix(2, 3, 'f32', random)
    const C = engine.multiply(tall, B)
    const part = { rows: 40_000, columns: 2, data: tall.data.subarray(17_920_000) }
    expect(part.data).toHaveLength(80_000)
    const tail = engine.multiply(part, B)
    expect(sameBits(tail, matrix(40_000, 3, C.data.subarray(26_880_000)))).toBe(true)
    const squares = engine.multiply(tall, tall, { transposeA: true })
    const held = engine.resident(tall)
    expect(sameBits(held.multiplyTransposed(tall), squares)).toBe(true)
    expect(sameBits(held.multiplyTransposed(toFloat64(tall)), engine.gram(tall))).toBe(true)
    held.release()
  })

  it('holds the bound on random shapes', () => {
    const side = fc.integer({ min: 1, max: 140 })
    fc.assert(
      fc.property(side, side, side, fc.integer(), fc.boolean(), (m, n, k, seed, single) => {
        const random = generator(seed)
        const A = randomMatrix(m, k, single ? 'f32' : 'f64', random)
        const B = randomMatrix(k, n, single ? 'f32' : 'f64', random)
        expect(excess(engine.multiply(A, B), A, B)).toBeLessThanOrEqual(1)
      }),
      { numRuns: 60 },
    )
  })

  it('multiplies empty matrices', () => {
    const empty = (rows: number, columns: number) => matrix(rows, columns, new Float64Array(0))
    expect(engine.multiply(empty(0, 3), randomMatrix(3, 4, 'f64', generator(5)))).toEqual(empty(0, 4))
    expect(engine.multiply(empty(2, 0), empty(0, 3))).toEqual(matrix(2, 3, new Float64Array(6)))
    expect(engine.gram(empty(0, 2))).toEqual(matrix(2, 2, new Float64Array(4)))
    expect(engine.gram(empty(2, 0), 'rows')).toEqual(matrix(2, 2, new Float64Array(4)))
  })

  it('refuses operands that do not fit', () => {
    const A = randomMatrix(40, 50, 'f64', generator(6))
    expect(() => engine.multiply(A, A)).toThrow(
      "can't multiply: 50 columns on the left, 40 rows on the right",
    )
  })

  it('passes subnormals, infinities and NaN through as IEEE arithmetic does', () => {
    for (const [type, tiny, huge] of [
      ['f32', 2 ** -149, 3e38],
      ['f64', 2 ** -1074, 1.7e308],
    ] as const) {
      const random = generator(7)
      const A = randomMatrix(40, 50, type, random)
      A.data.fill(0, 0, 50)
      A.data.fill(tiny, 50, 100)
      A.data[2 * 50 + 5] = Infinity
      A.data[3 * 50 + 6] = -Infinity
      A.data[4 * 50 + 7] = Number.NaN
      A.data.fill(huge, 5 * 50, 6 * 50)
      const B = randomMatrix(50, 45, type, random)
      for (let k = 0; k < 50; k++) B.data[k * 45] = 1
      const C = engine.multiply(A, B)
      const column = [0, 1, 2, 3, 4, 5].map((i) => C.data[i * 45])
      expect(column).toEqual([0, 50 * tiny, Infinity, -Infinity, Number.NaN, Infinity])
      const plain = plainMultiply(A, B)
      const kinds = ({ data }: Matrix) =>
        [...data.subarray(0, 5 * 45)].map((x) => (Number.isFinite(x) ? 0 : x))
      expect(kinds(C)).toEqual(kinds(plain))
    }
  })
})

describe('gram', () => {
  it('is exactly symmetric and within m·eps64 of the truth, also of float32 data', () => {
    const random = generator(8)
    for (const type of ['f32', 'f64'] as const) {
      for (const [m, n] of [
        [1, 200],
        [600, 33],
        [257, 129],
        [1030, 64],
        [60, 600],
        [4, 5],
      ]) {
        const A = randomMatrix(m, n, type, random)
        const G = engine.gram(A)
        expect(G.data).toBeInstanceOf(Float64Array)
        expect(sameBits(transpose(G), G)).toBe(true)
        const bound = plainGram(absolute(A))
        expect(largestExcess(G, plainGram(A), bound, (m + 1) * 2 ** -52)).toBeLessThanOrEqual(1)
        // the same products in the same order
        expect(sameBits(engine.gram(transpose(A), 'rows'), G)).toBe(true)
      }
    }
  })
})
