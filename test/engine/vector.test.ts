import { describe, expect, it } from 'vitest'
import { createWasmRuntime } from '../../src/engine/wasm/wasm-engine.ts'
import { generator } from './support.ts'

const { memory, heap, kernels } = createWasmRuntime()
const lengths = [0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 33, 100]

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

describe('rotate', () => {
  it('rounds as the same formula does in JavaScript', () => {
    const random = generator(32)
    for (const n of lengths) {
      const [x, y] = [vector(n, random), vector(n, random)]
      const [gx, gy] = [guarded(x), guarded(y)]
      kernels.rotate(n, gx.at, gy.at, 0.8, 0.6)
      expect(gx.read()).toEqual(x.map((xi, i) => 0.8 * xi + 0.6 * y[i]))
      expect(gy.read()).toEqual(y.map((yi, i) => 0.8 * yi - 0.6 * x[i]))
    }
  })
})
