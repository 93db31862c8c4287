import { describe, expect, test } from 'vitest'
import { errorOf } from '../formats/fixtures.ts'
import { distance, mergedByReader } from './goldens.ts'
import { adapterFrom, checkpointOf, elements, type TestTensor } from './support.ts'
import { numbers } from './write-support.ts'

let seed = 1
const random = (shape: readonly number[]): TestTensor => ({ shape, data: numbers(elements(shape), seed++) })

/** Width of the model; the MLP of a single block has 4 times that. */
const D = 4
const R = 2

const pair = (stem: string, out: number, inputs: number) => ({
  [`${stem}.down.weight`]: random([R, inputs]),
  [`${stem}.up.weight`]: random([out, R]),
})

const ADAPTER = {
  ...pair('double_blocks.3.processor.qkv_lora1', 3 * D, D),
  ...pair('double_blocks.3.processor.proj_lora1', D, D),
  ...pair('double_blocks.3.processor.qkv_lora2', 3 * D, D),
  ...pair('double_blocks.3.processor.proj_lora2', D, D),
  ...pair('single_blocks.7.processor.qkv_lora', 3 * D, D),
  ...pair('single_blocks.7.processor.proj_lora', D, 5 * D),
}

/** What each weight of Flux gets, by the authors' own forward: which product, and at which row of the weight. */
const CHANGES: Readonly<Record<string, readonly [pair: string, shape: readonly [number, number]]>> = {
  'double_blocks.3.img_attn.qkv': ['double_blocks.3.processor.qkv_lora1', [3 * D, D]],
  'double_blocks.3.img_attn.proj': ['double_blocks.3.processor.proj_lora1', [D, D]],
  'double_blocks.3.txt_attn.qkv': ['double_blocks.3.processor.qkv_lora2', [3 * D, D]],
  'double_blocks.3.txt_attn.proj': ['double_blocks.3.processor.proj_lora2', [D, D]],
  // queries, keys and values come first, and then the MLP's
  'single_blocks.7.linear1': ['single_blocks.7.processor.qkv_lora', [7 * D, D]],
  'single_blocks.7.linear2': ['single_blocks.7.processor.proj_lora', [D, 5 * D]],
}
/** By these ComfyUI and we tell Flux. */
const MARKS = {
  'double_blocks.0.img_mod.lin.weight': random([6 * D, D]),
  'double_blocks.0.img_attn.norm.key_norm.scale': random([D]),
  'single_blocks.0.linear1.weight': random([7 * D, D]),
}
const W = Object.fromEntries(
  Object.entries(CHANGES).map(([name, [, shape]]) => [`${name}.weight`, random(shape)]),
)

function changed(name: string): Float64Array {
  const [stem, [rows, columns]] = CHANGES[name]
  const [down, up] = ['down', 'up'].map((part) =>
    Float64Array.from((ADAPTER as Record<string, TestTensor>)[`${stem}.${part}.weight`].data!, Math.fround),
  )
  return Float64Array.from({ length: rows * columns }, (_, at) => {
    const [i, j] = [Math.floor(at / columns), at % columns]
    let sum = Math.fround(W[`${name}.weight`].data![at])
    for (let k = 0; k < R && i < up.length / R; k++) sum += up[i * R + k] * down[k * columns + j]
    return sum
  })
}

describe.each(['', 'model.diffusion_model.'])(
  'in a single file of Flux with %j before its names',
  (prefix) => {
    test.each(['', 'diffusion_model.'])('the adapter with %j before its own', async (own) => {
      const tensors = Object.fromEntries(Object.entries(ADAPTER).map(([name, one]) => [own + name, one]))
      const adapter = await adapterFrom({ tensors })
      expect(adapter).toMatchObject({ format: 'diffusers', ignored: [], warnings: [] })
      const base = Object.entries({ ...MARKS, ...W }).map(([name, one]) => [prefix + name, one])
      const found = new Map<string, Float64Array>()
      const weights = await mergedByReader(adapter, await checkpointOf({ tensors: Object.fromEntries(base) }))
      for (const [name, value] of weights) found.set(name, value)
      for (const name of Object.keys(CHANGES)) {
        expect(distance(found.get(`${prefix}${name}.weight`)!, changed(name)), name).toBeLessThan(1e-6)
      }
      expect(found.size).toBe(Object.keys(CHANGES).length)
    })
  },
)

test('the names are those that diffusers’ own converter gives', async () => {
  const { modules } = await adapterFrom({ tensors: ADAPTER })
  const names = modules.map(({ label, scale, rank, productShape }) => [label, scale, rank, ...productShape])
  expect(names.sort()).toEqual(
    [
      ['transformer_blocks.3.attn.to_q', 1, R, D, D],
      ['transformer_blocks.3.attn.to_k', 1, R, D, D],
      ['transformer_blocks.3.attn.to_v', 1, R, D, D],
      ['transformer_blocks.3.attn.to_out.0', 1, R, D, D],
      ['transformer_blocks.3.attn.add_q_proj', 1, R, D, D],
      ['transformer_blocks.3.attn.add_k_proj', 1, R, D, D],
      ['transformer_blocks.3.attn.add_v_proj', 1, R, D, D],
      ['transformer_blocks.3.attn.to_add_out', 1, R, D, D],
      ['single_transformer_blocks.7.attn.to_q', 1, R, D, D],
      ['single_transformer_blocks.7.attn.to_k', 1, R, D, D],
      ['single_transformer_blocks.7.attn.to_v', 1, R, D, D],
      ['single_transformer_blocks.7.proj_out', 1, R, D, 5 * D],
    ].sort(),
  )
})

test.each<[string, Record<string, TestTensor>, RegExp]>([
  ['half a pair', { 'double_blocks.0.processor.proj_lora1.up.weight': random([4, 2]) }, /no A \(down\)/],
  [
    'rows that are no three parts',
    pair('double_blocks.0.processor.qkv_lora2', 5, 4),
    /queries, keys and values/,
  ],
  [
    'one module twice',
    {
      ...pair('double_blocks.0.processor.proj_lora1', 4, 4),
      ...pair('diffusion_model.double_blocks.0.processor.proj_lora1', 4, 4),
    },
    /both the A of the module/,
  ],
])('%s is refused', async (_, tensors, message) => {
  const error = await errorOf(() => adapterFrom({ tensors }))
  expect(error).toMatchObject({ code: 'bad-input' })
  expect(error.message).toMatch(message)
})
