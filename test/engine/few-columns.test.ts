import { describe, expect, it } from 'vitest'
import { createWasmEngine } from '../../src/engine/wasm/wasm-engine.ts'
import {
  type FloatType,
  leadingColumns,
  type Matrix,
  matrix,
  rowRange,
  transpose,
} from '../../src/linalg/matrix/matrix.ts'
import { stored } from './resident-suite.ts'
import { generator, randomMatrix, sameBits } from './support.ts'

/** Products of a resident matrix with few columns, for which the kernels read it where it lies. */

const engine = createWasmEngine({ threads: 1 })
/** Around register tiles of 8 columns, and around the widths from which a matrix is packed. */
const widths = [1, 7, 8, 9, 16, 17, 24, 32, 33, 40, 41, 64, 65]
const widest = 65
const depths = { f32: 512, f64: 256 } as const
/** Rows of a panel of A that Aᵀ·(A·X) sums at a time. */
const panelRows = 256

const floats = (type: FloatType, length: number) =>
  type === 'f32' ? new Float32Array(length) : new Float64Array(length)

/** A·B with each operation rounded to `type`: inner indices in order, in blocks of `depth` that are summed from 0 and added up in order. */
function byRule(type: FloatType, A: Matrix, B: Matrix, depth: number): Matrix {
  const round = type === 'f32' ? Math.fround : (x: number) => x
  const [m, k, n] = [A.rows, A.columns, B.columns]
  const C = matrix(m, n, floats(type, m * n))
  for (let i = 0; i < m; i++) {
    for (let from = 0; from < k; from += depth) {
      const sums = floats(type, n)
      for (let p = from; p < Math.min(k, from + depth); p++) {
        const a = round(A.data[i * k + p])
        for (let j = 0; j < n; j++) sums[j] += round(a * B.data[p * n + j])
      }
      for (let j = 0; j < n; j++) C.data[i * n + j] += sums[j]
    }
  }
  return C
}

describe('products with few columns', () => {
  for (const storage of ['f32', 'f64', 'bf16', 'f16'] as const) {
    for (const type of ['f32', 'f64'] as const) {
      it(`round as the rule of all products says, stored as ${storage}, by ${type}`, () => {
        const random = generator(21)
        for (const [m, n] of [
          [1, 9],
          [9, 1],
          [22, 515],
          [533, 135],
        ]) {
          const { A, values } = stored(m, n, storage, random)
          const X = randomMatrix(n, widest, type, random)
          const Y = randomMatrix(m, widest, type, random)
          const At = transpose(values)
          const forward = byRule(type, values, X, depths[type])
          const backward = byRule(type, At, Y, depths[type])
          const normal = byRule(type, At, forward, panelRows)
          const held = engine.resident(A)
          for (const width of widths) {
            const [x, y] = [leadingColumns(X, width), leadingColumns(Y, width)]
            const found = [held.multiply(x), held.multiplyTransposed(y), held.multiplyNormal(x)]
            const expected = [forward, backward, normal].map((C) => leadingColumns(C, width))
            expect({ m, n, width, same: found.map((C, i) => sameBits(C, expected[i])) }).toEqual({
              m,
              n,
              width,
              same: [true, true, true],
            })
          }
          held.release()
        }
      })
    }
  }

  it('have the same bits where both operands are stored and A is a part of the rows', () => {
    const random = generator(22)
    for (const type of ['f32', 'f64'] as const) {
      const A = randomMatrix(1100, 300, type, random)
      for (const width of [3, 8, 24]) {
        const X = randomMatrix(300, width, type, random)
        const C = engine.multiply(A, X)
        for (const [from, to] of [
          [0, 3],
          [1, 1100],
          [513, 1027],
        ]) {
          expect(sameBits(engine.multiply(rowRange(A, from, to), X), rowRange(C, from, to))).toBe(true)
        }
        expect(sameBits(engine.multiply(transpose(A), X, { transposeA: true }), C)).toBe(true)
        expect(sameBits(engine.multiply(A, transpose(X), { transposeB: true }), C)).toBe(true)
      }
    }
  })

  it('let a NaN and an infinity reach the entries that they are terms of, and no others', () => {
    const random = generator(23)
    const [m, n] = [21, 39]
    for (const storage of ['f32', 'f64', 'bf16'] as const) {
      for (const type of ['f32', 'f64'] as const) {
        for (const [row, column] of [
          [0, 0],
          [19, 36],
          [20, 38],
        ]) {
          const { A } = stored(m, n, storage, random)
          const [nan, infinity] =
            storage === 'bf16' ? [0x7fc0, 0x7f80] : [Number.NaN, Number.POSITIVE_INFINITY]
          A.data[row * n + 5] = infinity
          A.data[7 * n + column] = nan
          const held = engine.resident(A)
          const X = matrix(n, 9, floats(type, n * 9).fill(1))
          const Y = matrix(m, 9, floats(type, m * 9).fill(1))
          const columnOf = ({ rows, data }: Matrix) => Array.from({ length: rows }, (_, i) => data[i * 9 + 8])
          const kind = (x: number) => (Number.isFinite(x) ? 0 : x)
          const forward = Array.from({ length: m }, (_, i) =>
            i === row ? Number.POSITIVE_INFINITY : i === 7 ? Number.NaN : 0,
          )
          const backward = Array.from({ length: n }, (_, j) =>
            j === 5 ? Number.POSITIVE_INFINITY : j === column ? Number.NaN : 0,
          )
          expect(columnOf(held.multiply(X)).map(kind)).toEqual(forward)
          expect(columnOf(held.multiplyTransposed(Y)).map(kind)).toEqual(backward)
          held.release()
        }
      }
    }
  })

  it('have the same bits on any number of threads', () => {
    const random = generator(24)
    const A = randomMatrix(1030, 517, 'f32', random)
    const engines = [1, 2, 3, 4].map((threads) => createWasmEngine({ threads }))
    const large = randomMatrix(700, 700, 'f32', random)
    for (const { threads, runtime, multiply } of engines) {
      const deadline = Date.now() + 20_000
      while (threads > 1 && runtime.joins() < threads && Date.now() < deadline) multiply(large, large)
      expect(runtime.joins() >= threads || threads === 1).toBe(true)
    }
    for (const type of ['f32', 'f64'] as const) {
      for (const width of [8, 13, 32]) {
        const X = randomMatrix(517, width, type, random)
        const Y = randomMatrix(1030, width, type, random)
        const [alone, ...others] = engines.map(({ resident }) => {
          const held = resident(A)
          const products = [held.multiply(X), held.multiplyTransposed(Y), held.multiplyNormal(X)]
          held.release()
          return products
        })
        for (const products of others)
          expect(products.map((C, i) => sameBits(C, alone[i]))).toEqual([true, true, true])
      }
    }
    for (const { close } of engines) close()
  })
})
