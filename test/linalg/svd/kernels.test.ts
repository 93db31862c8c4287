import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Block, block, part, rowOf, transposeBlock } from '../../../src/linalg/svd/kernels.ts'
import { EPS, kernelSets, uniform } from './support.ts'

const size = fc.integer({ min: 0, max: 40 })

describe.each(kernelSets)('%s kernels', (_, kernels) => {
  /** A random block inside a larger array, so that strides and offsets count. */
  function random(rows: number, columns: number, seed: number): Block {
    const next = uniform(seed)
    const frame = block(kernels.allocate((rows + 2) * (columns + 3)), rows + 2, columns + 3)
    for (let i = 0; i < frame.data.length; i++) frame.data[i] = next()
    return part(frame, 1, 2, rows, columns)
  }
  const vector = (n: number, seed: number): Float64Array => rowOf(random(1, n, seed), 0)
  const at = (A: Block, i: number, j: number): number => A.data[A.offset + i * A.stride + j]
  /** Everything in the array around the block. */
  const frameSum = (A: Block): number => {
    let sum = A.data.reduce((total, x) => total + x, 0)
    for (let i = 0; i < A.rows; i++) for (let j = 0; j < A.columns; j++) sum -= at(A, i, j)
    return sum
  }

  test('gemm: op(A)·op(B), overwriting or added, and nothing outside C', () => {
    fc.assert(
      fc.property(
        size,
        size,
        size,
        fc.boolean(),
        fc.boolean(),
        fc.boolean(),
        (m, n, k, ta, tb, accumulate) => {
          kernels.scope(() => {
            const A = ta ? random(k, m, 1) : random(m, k, 1)
            const B = tb ? random(n, k, 2) : random(k, n, 2)
            const C = random(m, n, 3)
            const before = C.data.slice()
            const outside = frameSum(C)
            kernels.gemm(A, ta ? 'T' : 'N', B, tb ? 'T' : 'N', C, accumulate)
            let worst = 0
            for (let i = 0; i < m; i++) {
              for (let j = 0; j < n; j++) {
                let sum = accumulate ? before[C.offset + i * C.stride + j] : 0
                for (let l = 0; l < k; l++)
                  sum += (ta ? at(A, l, i) : at(A, i, l)) * (tb ? at(B, j, l) : at(B, l, j))
                worst = Math.max(worst, Math.abs(sum - at(C, i, j)))
              }
            }
            expect(worst).toBeLessThan(40 * EPS)
            expect(frameSum(C)).toBeCloseTo(outside, 11)
          })
        },
      ),
      { numRuns: 60 },
    )
  })

  test('gemm: inner dimensions beyond a block', () => {
    kernels.scope(() => {
      const [A, B, C] = [random(5, 700, 1), random(9, 700, 2), random(5, 9, 3)]
      kernels.gemm(A, 'N', B, 'T', C)
      for (let i = 0; i < 5; i++) {
        for (let j = 0; j < 9; j++) {
          let sum = 0
          for (let l = 0; l < 700; l++) sum += at(A, i, l) * at(B, j, l)
          expect(at(C, i, j)).toBeCloseTo(sum, 12)
        }
      }
    })
  })

  test('syrk: A·Aᵀ, exactly symmetric', () => {
    fc.assert(
      fc.property(size, size, (m, k) => {
        kernels.scope(() => {
          const A = random(m, k, 5)
          const C = block(kernels.allocate(m * m), m, m)
          kernels.syrk(A, C)
          for (let i = 0; i < m; i++) {
            for (let j = 0; j <= i; j++) {
              let sum = 0
              for (let l = 0; l < k; l++) sum += at(A, i, l) * at(A, j, l)
              expect(at(C, i, j)).toBeCloseTo(sum, 12)
              expect(at(C, j, i)).toBe(at(C, i, j))
            }
          }
        })
      }),
      { numRuns: 30 },
    )
  })

  test('symv reads the upper triangle only', () => {
    for (const n of [0, 1, 2, 3, 4, 5, 7, 8, 9, 33, 66]) {
      kernels.scope(() => {
        const A = random(n, n, n)
        for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) rowOf(A, i)[j] = Number.NaN
        const [x, y] = [vector(n, 1), vector(n, 2)]
        kernels.symv(A, x, y)
        for (let i = 0; i < n; i++) {
          let sum = 0
          for (let j = 0; j < n; j++) sum += (i <= j ? at(A, i, j) : at(A, j, i)) * x[j]
          expect(y[i]).toBeCloseTo(sum, 13)
        }
      })
    }
  })

  test('gemv, ger and rotate', () => {
    fc.assert(
      fc.property(size, size, (m, n) => {
        kernels.scope(() => {
          const A = random(m, n, 7)
          const [x, y, z] = [vector(n, 8), vector(m, 9), vector(m, 10)]
          const expectedY = Array.from(y, (value, i) => {
            for (let j = 0; j < n; j++) value += 1.5 * at(A, i, j) * x[j]
            return value
          })
          kernels.gemv(1.5, A, 'N', x, y)
          y.forEach((value, i) => {
            expect(value).toBeCloseTo(expectedY[i], 13)
          })
          const expectedX = Array.from(x, (value, j) => {
            for (let i = 0; i < m; i++) value -= at(A, i, j) * z[i]
            return value
          })
          kernels.gemv(-1, A, 'T', z, x)
          x.forEach((value, j) => {
            expect(value).toBeCloseTo(expectedX[j], 13)
          })
          const updated = Array.from({ length: m * n }, (_, l) => {
            const [i, j] = [Math.floor(l / n), l % n]
            return at(A, i, j) - 2 * z[i] * x[j]
          })
          kernels.ger(-2, z, x, A)
          for (let l = 0; l < m * n; l++) expect(at(A, Math.floor(l / n), l % n)).toBeCloseTo(updated[l], 13)
          const [before, after] = [y.slice(), z.slice()]
          kernels.rotate(y, z, 0.6, 0.8)
          y.forEach((value, i) => {
            expect(value).toBeCloseTo(0.6 * before[i] + 0.8 * after[i], 14)
            expect(z[i]).toBeCloseTo(0.6 * after[i] - 0.8 * before[i], 14)
          })
        })
      }),
      { numRuns: 40 },
    )
  })

  test('memory of a scope is used again when it ends, also when it throws', () => {
    const addresses = new Set<number>()
    for (const fails of [false, true, false]) {
      const use = () =>
        kernels.scope(() => {
          addresses.add(kernels.allocate(1000).byteOffset)
          if (fails) throw new Error('stop')
        })
      fails ? expect(use).toThrow('stop') : use()
    }
    expect(addresses.size).toBe(1)
  })
})

test('transposeBlock', () => {
  const A = block(
    Float64Array.from({ length: 37 * 19 }, (_, i) => i),
    37,
    19,
  )
  const B = block(new Float64Array(37 * 19), 19, 37)
  transposeBlock(A, B)
  for (let i = 0; i < 37; i++)
    for (let j = 0; j < 19; j++) expect(B.data[j * 37 + i]).toBe(A.data[i * 19 + j])
})
