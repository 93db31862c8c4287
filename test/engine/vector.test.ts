import { describe, expect, it } from 'vitest'
import { createWasmRuntime } from '../../src/engine/wasm/runtime.ts'
import { generator } from './support.ts'

const { memory, heap, kernels } = createWasmRuntime()
const lengths = [0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 33, 100]
const EPS = 2 ** -52

/** A float64 vector in the shared memory, between guard numbers that must survive. */
function guarded(values: readonly number[]) {
  const address = heap.allocate((values.length + 2) * 8)
  const view = new Float64Array(memory.buffer, address, values.length + 2)
  view.set([7, ...values, 7])
  return {
    at: address + 8,
    read: () => {
      expect([view[0], view[view.length - 1]]).toEqual([7, 7])
      return [...view.subarray(1, -1)]
    },
  }
}

const vector = (n: number, random: () => number) => Array.from({ length: n }, random)
const dot = (x: number[], y: number[]) => x.reduce((sum, xi, i) => sum + xi * y[i], 0)
const near = (n: number) => (n + 2) * EPS * Math.max(1, n)

describe('vector kernels', () => {
  it('dot and threeDots', () => {
    const random = generator(31)
    for (const n of lengths) {
      const [x, y] = [vector(n, random), vector(n, random)]
      const [gx, gy, out] = [guarded(x), guarded(y), guarded([0, 0, 0])]
      expect(Math.abs(kernels.dot(n, gx.at, gy.at) - dot(x, y))).toBeLessThanOrEqual(near(n))
      kernels.threeDots(n, gx.at, gy.at, out.at)
      const [xx, yy, xy] = out.read()
      expect(Math.abs(xx - dot(x, x))).toBeLessThanOrEqual(near(n))
      expect(Math.abs(yy - dot(y, y))).toBeLessThanOrEqual(near(n))
      expect(Math.abs(xy - dot(x, y))).toBeLessThanOrEqual(near(n))
      expect(gx.read()).toEqual(x)
    }
  })

  it('axpy and rotate round as the same formula does in JavaScript', () => {
    const random = generator(32)
    for (const n of lengths) {
      const [x, y] = [vector(n, random), vector(n, random)]
      const [gx, gy] = [guarded(x), guarded(y)]
      kernels.axpy(n, 0.3, gx.at, gy.at)
      expect(gy.read()).toEqual(y.map((yi, i) => yi + 0.3 * x[i]))
      const sum = gy.read()
      kernels.rotate(n, gx.at, gy.at, 0.8, 0.6)
      expect(gx.read()).toEqual(x.map((xi, i) => 0.8 * xi + 0.6 * sum[i]))
      expect(gy.read()).toEqual(sum.map((yi, i) => 0.8 * yi - 0.6 * x[i]))
    }
  })

  it('symv reads the lower triangle only, inside a wider matrix too', () => {
    const random = generator(33)
    for (const n of lengths) {
      const stride = n + 3
      const lower = Array.from({ length: n * stride }, (_, i) =>
        i % stride <= Math.floor(i / stride) ? random() : Number.NaN,
      )
      const entry = (i: number, j: number) => lower[Math.max(i, j) * stride + Math.min(i, j)]
      const x = vector(n, random)
      const [a, gx, y] = [guarded(lower), guarded(x), guarded(Array(n).fill(Number.NaN))]
      kernels.symv(n, a.at, stride, gx.at, y.at)
      const expected = x.map((_, i) => x.reduce((sum, xj, j) => sum + entry(i, j) * xj, 0))
      y.read().forEach((yi, i) => {
        expect(Math.abs(yi - expected[i])).toBeLessThanOrEqual(near(n))
      })
      expect(gx.read()).toEqual(x)
    }
  })

  it('symvRows of consecutive ranges add up to symv', () => {
    const random = generator(34)
    const n = 37
    const a = guarded(vector(n * n, random))
    const x = guarded(vector(n, random))
    const [whole, parts] = [guarded(Array(n).fill(0)), guarded(Array(n).fill(0))]
    kernels.symv(n, a.at, n, x.at, whole.at)
    for (const [from, to] of [
      [0, 5],
      [5, 20],
      [20, 37],
    ]) {
      kernels.symvRows(from, to, a.at, n, x.at, parts.at)
    }
    const sum = parts.read()
    whole.read().forEach((y, i) => {
      expect(Math.abs(y - sum[i])).toBeLessThanOrEqual(near(n))
    })
  })
})
