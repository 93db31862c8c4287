import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { StoredTensor } from '../../src/checkpoint/types.ts'
import type { SafetensorsDtype } from '../../src/formats/safetensors-dtype.ts'
import { readFactors } from '../../src/lora/factors.ts'
import { matchToBase } from '../../src/lora/match.ts'
import type { AdapterModule } from '../../src/lora/model.ts'
import { errorOf } from '../formats/fixtures.ts'
import { adapterFrom, checkpointOf, counting, LORA, pair, type TestTensor } from './support.ts'
import '../property-seed.ts'

/** scale·B·A of what readFactors gives, entry by entry. */
async function delta(module: AdapterModule, expert?: number): Promise<number[][]> {
  const { B, A, scale } = await readFactors(module, expert)
  return Array.from({ length: B.rows }, (_, i) =>
    Array.from({ length: A.columns }, (_, j) => {
      let sum = 0
      for (let k = 0; k < A.rows; k++) sum += B.data[i * B.columns + k] * A.data[k * A.columns + j]
      return scale * sum
    }),
  )
}

/** A matrix by the formula of its entries. */
const table = (rows: number, columns: number, entry: (i: number, j: number) => number) =>
  Array.from({ length: rows }, (_, i) => Array.from({ length: columns }, (_, j) => entry(i, j)))
const sum = (count: number, term: (k: number) => number) =>
  Array.from({ length: count }, (_, k) => term(k)).reduce((total, value) => total + value, 0)

/** Small integers: every product and sum is exact in float32. */
const values = (shape: number[], first: number) => counting(shape, first).map((value) => (value % 7) - 3)

describe('ΔW is scale·B·A in the base tensor’s own view', () => {
  const [rank, out, columns] = [2, 4, 3]
  const a = values([rank, columns], 2)
  const b = values([out, rank], 5)
  const linear = {
    'm.lora_A.weight': { shape: [rank, columns], data: a },
    'm.lora_B.weight': { shape: [out, rank], data: b },
  }
  const product = (i: number, j: number) => sum(rank, (k) => b[i * rank + k] * a[k * columns + j])

  test('linear', async () => {
    const adapter = await adapterFrom({ tensors: linear, adapterConfig: LORA })
    expect(await delta(adapter.modules[0])).toEqual(table(out, columns, (i, j) => 2 * product(i, j)))
  })

  test('stored [in, out]', async () => {
    const adapter = await adapterFrom({ tensors: linear, adapterConfig: { ...LORA, fan_in_fan_out: true } })
    const expected = table(columns, out, (i, j) => 2 * product(j, i))
    expect(await delta(adapter.modules[0])).toEqual(expected)
    const base = await checkpointOf({ tensors: { 'm.weight': { shape: [columns, out] } } })
    const [{ module }] = matchToBase(adapter, base).matched
    expect(module.kind).toBe('conv1d')
    expect(await delta(module)).toEqual(expected)
  })

  test('embedding', async () => {
    const adapter = await adapterFrom({
      tensors: {
        'm.lora_embedding_A': { shape: [rank, columns], data: a },
        'm.lora_embedding_B': { shape: [out, rank], data: b },
      },
      adapterConfig: LORA,
    })
    expect(await delta(adapter.modules[0])).toEqual(table(columns, out, (i, j) => 2 * product(j, i)))
  })

  test('convolution: columns are in, height, width in that order', async () => {
    const down = values([rank, 3, 2, 2], 3)
    const adapter = await adapterFrom({
      tensors: {
        'lora_unet_m.lora_down.weight': { shape: [rank, 3, 2, 2], data: down },
        'lora_unet_m.lora_up.weight': { shape: [out, rank, 1, 1], data: b },
        'lora_unet_m.alpha': { shape: [], data: Float64Array.of(1) },
      },
    })
    // W[o, c, y, x] = ½ Σ_k up[o, k]·down[k, c, y, x]
    const entry = (o: number, c: number, y: number, x: number) =>
      0.5 * sum(rank, (k) => b[o * rank + k] * down[((k * 3 + c) * 2 + y) * 2 + x])
    const expected = table(out, 12, (o, j) => entry(o, Math.floor(j / 4), Math.floor(j / 2) % 2, j % 2))
    expect(await delta(adapter.modules[0])).toEqual(expected)
  })

  test.each([[[3, 2]], [[3]], [[2, 1, 3]]])('a Tucker core with the kernel %j', async (kernel) => {
    const size = kernel.reduce((product, n) => product * n, 1)
    const ones = kernel.map(() => 1)
    const core = values([rank, rank, ...kernel], 1)
    const adapter = await adapterFrom({
      tensors: {
        'lora_unet_m.lora_down.weight': { shape: [rank, columns, ...ones], data: a },
        'lora_unet_m.lora_mid.weight': { shape: [rank, rank, ...kernel], data: core },
        'lora_unet_m.lora_up.weight': { shape: [out, rank, ...ones], data: b },
      },
    })
    // W[o, c, z] = Σ_q Σ_p up[o, q]·mid[q, p, z]·down[p, c]
    const entry = (o: number, c: number, z: number) =>
      sum(rank, (q) =>
        sum(rank, (p) => b[o * rank + q] * core[(q * rank + p) * size + z] * a[p * columns + c]),
      )
    const expected = table(out, columns * size, (o, j) => entry(o, Math.floor(j / size), j % size))
    const [module] = adapter.modules
    expect(await delta(module)).toEqual(expected)
    const { A, B } = await readFactors(module)
    expect([A.rows, B.columns]).toEqual([rank, rank])
  })

  test.each([
    ['[E, out, in]', [3, 4, 5], false],
    ['[E, in, out]', [3, 5, 4], true],
  ])('stacked experts %s', async (_, shape, isTransposed) => {
    const [experts, outs, ins] = [3, 4, 5]
    const allA = values([experts * rank, ins], 1)
    const allB = values([outs, rank * experts], 4)
    const adapter = await adapterFrom({
      tensors: {
        'x.experts.lora_A.weight': { shape: [experts * rank, ins], data: allA },
        'x.experts.lora_B.weight': { shape: [outs, rank * experts], data: allB },
      },
      adapterConfig: { ...LORA, target_parameters: ['experts.down_proj'] },
    })
    const base = await checkpointOf({ tensors: { 'model.x.experts.down_proj': { shape } } })
    const { matched, unmatched } = matchToBase(adapter, base)
    expect(unmatched).toEqual([])
    const [{ module }] = matched
    expect(module).toMatchObject({ kind: 'experts', experts, isTransposed })
    for (let e = 0; e < experts; e++) {
      // Δ[e, o, i] = 2 Σ_r B[o, (r, e)]·A[(e, r), i]
      const entry = (o: number, i: number) =>
        2 * sum(rank, (r) => allB[(o * rank + r) * experts + e] * allA[(e * rank + r) * ins + i])
      const expected = isTransposed ? table(ins, outs, (i, o) => entry(o, i)) : table(outs, ins, entry)
      expect(await delta(module, e)).toEqual(expected)
    }
    await expect(readFactors(module)).rejects.toThrow(RangeError)
    await expect(readFactors(module, experts)).rejects.toThrow(RangeError)
  })

  test.each<[SafetensorsDtype, unknown]>([
    ['F64', Float64Array],
    ['F32', Float32Array],
    ['F16', Float32Array],
    ['BF16', Float32Array],
  ])('%s factors', async (dtype, type) => {
    const tensors: Record<string, TestTensor> = Object.fromEntries(
      Object.entries(linear).map(([name, tensor]) => [name, { ...tensor, dtype }]),
    )
    const adapter = await adapterFrom({ tensors, adapterConfig: LORA })
    expect(await delta(adapter.modules[0])).toEqual(table(out, columns, (i, j) => 2 * product(i, j)))
    const { A, B } = await readFactors(adapter.modules[0])
    expect([A.data.constructor, B.data.constructor]).toEqual([type, type])
  })

  test.each<[SafetensorsDtype, number[], number[]]>([
    // 1, −2, 0.5 as sign, exponent and fraction of each format
    ['F8_E4M3', [0x38, 0xc0, 0x30], [1, -2, 0.5]],
    ['F8_E5M2', [0x3c, 0xc0, 0x38], [1, -2, 0.5]],
  ])('%s factors', async (dtype, bytes, numbers) => {
    const adapter = await adapterFrom({
      tensors: {
        'm.lora_A.weight': { shape: [1, 3], dtype, data: Uint8Array.from(bytes) },
        'm.lora_B.weight': { shape: [1, 1] },
      },
      adapterConfig: { ...LORA, r: 1 },
    })
    expect([...(await readFactors(adapter.modules[0])).A.data]).toEqual(numbers)
  })

  test('factors of two types are both given as the wider', async () => {
    const tensors = { ...linear, 'm.lora_B.weight': { shape: [out, rank], dtype: 'F64' as const, data: b } }
    const { A, B } = await readFactors((await adapterFrom({ tensors, adapterConfig: LORA })).modules[0])
    expect([A.data.constructor, B.data.constructor]).toEqual([Float64Array, Float64Array])
  })

  test('any shapes', async () => {
    const size = fc.integer({ min: 1, max: 5 })
    await fc.assert(
      fc.asyncProperty(size, size, size, fc.boolean(), async (r, rows, width, fanInFanOut) => {
        const [A, B] = [values([r, width], r), values([rows, r], width)]
        const adapter = await adapterFrom({
          tensors: {
            'm.lora_A.weight': { shape: [r, width], data: A },
            'm.lora_B.weight': { shape: [rows, r], data: B },
          },
          adapterConfig: { ...LORA, r, lora_alpha: 3 * r, fan_in_fan_out: fanInFanOut },
        })
        const entry = (i: number, j: number) => 3 * sum(r, (k) => B[i * r + k] * A[k * width + j])
        const expected = fanInFanOut ? table(width, rows, (i, j) => entry(j, i)) : table(rows, width, entry)
        expect(await delta(adapter.modules[0])).toEqual(expected)
      }),
      { numRuns: 30 },
    )
  })
})

/** A module whose A lies elsewhere. */
function withSource(module: AdapterModule, source: StoredTensor['source']): AdapterModule {
  const { product } = module
  if (product.kind !== 'lora') throw new TypeError(product.kind)
  return { ...module, product: { ...product, A: { ...product.A, source } } }
}

test('a tensor that lies in no safetensors file is refused', async () => {
  const [module] = (await adapterFrom({ tensors: pair('m'), adapterConfig: LORA })).modules
  const error = await errorOf(() => readFactors(withSource(module, { kind: 'file', file: 'x.npz' })))
  expect(error).toMatchObject({ code: 'bad-input', file: 'x.npz' })
})

test('factors read from standard input', async () => {
  const [module] = (await adapterFrom({ tensors: pair('m'), adapterConfig: LORA })).modules
  const bytes = new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer)
  const { A } = await readFactors(withSource(module, { kind: 'bytes', bytes }))
  expect([...A.data]).toEqual([1, 2, 3, 4, 5, 6])
})
