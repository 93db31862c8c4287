import { describe, expect, test } from 'vitest'
import { matchToBase } from '../../src/lora/match.ts'
import { type AdapterOptions, adapterOf } from '../../src/lora/read/adapter.ts'
import { distance, mergedByReader } from './goldens.ts'
import { adapterFrom, checkpointOf, elements, moduleNamed, type TestTensor } from './support.ts'
import { numbers } from './write-support.ts'

const Q = 'model.layers.0.self_attn.q_proj'
const CONFIG = { fine_tune_type: 'lora', num_layers: 4, lora_parameters: { rank: 2, scale: 20, dropout: 0 } }

let seed = 1
const random = (shape: readonly number[]): TestTensor => ({ shape, data: numbers(elements(shape), seed++) })

/** lora_a [in, r] and lora_b [r, out]. */
const pair = (stem: string, [inputs, rank, out]: readonly [number, number, number] = [3, 2, 5]) => ({
  [`${stem}.lora_a`]: random([inputs, rank]),
  [`${stem}.lora_b`]: random([rank, out]),
})

/** Entry (i, j) of x·y, of the shapes [n, k] and [k, m]. */
function times(x: TestTensor, y: TestTensor): (i: number, j: number) => number {
  const [, k] = x.shape
  const [, m] = y.shape
  return (i, j) => {
    let sum = 0
    for (let q = 0; q < k; q++) sum += Math.fround(x.data![i * k + q]) * Math.fround(y.data![q * m + j])
    return sum
  }
}

const filled = ([rows, columns]: readonly number[], entry: (i: number, j: number) => number) =>
  Float64Array.from({ length: rows * columns }, (_, at) => entry(Math.floor(at / columns), at % columns))

/** The base with the adapter in it, by our reader. */
async function merged(
  tensors: Record<string, TestTensor>,
  weights: Record<string, TestTensor>,
  adapterConfig: Record<string, unknown> = CONFIG,
) {
  return mergedByReader(
    await adapterFrom({ tensors, adapterConfig }),
    await checkpointOf({ tensors: weights }),
  )
}

// each as mlx_lm's own `fuse` has it
describe('the weight that mlx_lm.fuse makes', () => {
  test.each([
    ['of a linear layer', [5, 3]],
    ['of a square one, whose shape tells nothing', [3, 3]],
  ])('%s: W + scale·lora_bᵀ·lora_aᵀ', async (_, [out, inputs]) => {
    const tensors = pair(Q, [inputs, 2, out])
    const W = random([out, inputs])
    const found = await merged(tensors, { [`${Q}.weight`]: W })
    const product = times(tensors[`${Q}.lora_a`], tensors[`${Q}.lora_b`])
    const wanted = filled([out, inputs], (i, j) => Math.fround(W.data![i * inputs + j]) + 20 * product(j, i))
    expect(distance(found.get(`${Q}.weight`)!, wanted)).toBeLessThan(1e-6)
  })

  test.each([
    ['of an embedding', [7, 3]],
    ['of a square one', [3, 3]],
  ])('%s: W + scale·lora_a·lora_b', async (_, [vocabulary, dim]) => {
    const name = 'model.embed_tokens'
    const tensors = pair(name, [vocabulary, 2, dim])
    const W = random([vocabulary, dim])
    const found = await merged(tensors, { [`${name}.weight`]: W })
    const product = times(tensors[`${name}.lora_a`], tensors[`${name}.lora_b`])
    const wanted = filled([vocabulary, dim], (i, j) => Math.fround(W.data![i * dim + j]) + 20 * product(i, j))
    expect(distance(found.get(`${name}.weight`)!, wanted)).toBeLessThan(1e-6)
  })

  test('of GPT-2, whose Conv1D MLX turns when it loads the model', async () => {
    const tensors = pair('model.h.0.attn.c_attn', [3, 2, 9])
    const W = random([3, 9])
    const found = await merged(tensors, { 'h.0.attn.c_attn.weight': W })
    const product = times(tensors['model.h.0.attn.c_attn.lora_a'], tensors['model.h.0.attn.c_attn.lora_b'])
    const wanted = filled([3, 9], (i, j) => Math.fround(W.data![i * 9 + j]) + 20 * product(i, j))
    expect(distance(found.get('h.0.attn.c_attn.weight')!, wanted)).toBeLessThan(1e-6)
  })

  test.each([
    ['stacked', [3, 2, 4]],
    ['one upon another, as before October 2025', [6, 4]],
  ])('of experts %s: W + scale·lora_b·lora_a each', async (_, shape) => {
    const stem = 'model.layers.1.mlp.switch_mlp.up_proj'
    const tensors = { [`${stem}.lora_a`]: random(shape), [`${stem}.lora_b`]: random([3, 5, 2]) }
    const names = [0, 1, 2].map((e) => `model.layers.1.mlp.experts.${e}.up_proj.weight`)
    const weights = Object.fromEntries(names.map((name) => [name, random([5, 4])]))
    const found = await merged(tensors, weights)
    for (const [e, name] of names.entries()) {
      const product = times(
        { shape: [5, 2], data: tensors[`${stem}.lora_b`].data!.slice(e * 10, e * 10 + 10) },
        { shape: [2, 4], data: tensors[`${stem}.lora_a`].data!.slice(e * 8, e * 8 + 8) },
      )
      const W = weights[name].data!
      const wanted = filled([5, 4], (i, j) => Math.fround(W[i * 4 + j]) + 20 * product(i, j))
      expect(distance(found.get(name)!, wanted), name).toBeLessThan(1e-6)
    }
  })
})

test.each([
  ['gate_proj', 'w1'],
  ['down_proj', 'w2'],
  ['up_proj', 'w3'],
])("Mixtral's %s is %s", async (own, hub) => {
  const stem = `model.layers.0.block_sparse_moe.switch_mlp.${own}`
  const { modules } = await adapterFrom({
    tensors: { [`${stem}.lora_a`]: random([2, 2, 4]), [`${stem}.lora_b`]: random([2, 5, 2]) },
    adapterConfig: CONFIG,
  })
  expect(modules.map(({ tensor }) => tensor)).toEqual(
    [0, 1].map((e) => `model.layers.0.block_sparse_moe.experts.${e}.${hub}.weight`),
  )
})

test('DoRA has a magnitude for each row', async () => {
  const tensors = { ...pair(Q), [`${Q}.m`]: random([5]) }
  const adapter = await adapterFrom({ tensors, adapterConfig: { ...CONFIG, fine_tune_type: 'dora' } })
  expect(adapter.format).toBe('mlx')
  expect(moduleNamed(adapter, Q).magnitude?.name).toBe(`${Q}.m`)
  expect(adapter.warnings.join()).toMatch(/1 module is DoRA/)
})

describe('the scale', () => {
  const read = async (adapterConfig: Record<string, unknown> | undefined, options: AdapterOptions = {}) => {
    const checkpoint = await checkpointOf({ tensors: pair(Q), ...(adapterConfig && { adapterConfig }) })
    const { modules, warnings } = (await adapterOf(checkpoint, options))!
    return { scale: modules[0].scale, warnings }
  }
  const old = { lora_layers: 4, lora_parameters: { rank: 2, alpha: 16, scale: 10, dropout: 0 } }

  test('is the config’s, whatever the rank', async () => {
    expect(await read(CONFIG)).toEqual({ scale: 20, warnings: [] })
    expect((await read(CONFIG, { alpha: 3 })).scale).toBe(20)
  })
  test('an alpha beside it is not read since there is a fine_tune_type', async () => {
    expect(await read({ ...old, fine_tune_type: 'lora' })).toEqual({ scale: 10, warnings: [] })
  })
  test('an alpha in a config before that was read by some versions: it has to be said', async () => {
    await expect(read(old, { isStrict: true })).rejects.toMatchObject({
      code: 'bad-input',
      message: expect.stringMatching(
        /alpha of 16.*, 80, and later ones pass over, 10: .*--alpha 160 or --alpha 20/,
      ),
    })
    expect((await read(old, { isStrict: true, alpha: 160 })).scale).toBe(80)
    expect((await read(old, { isStrict: true, alpha: 20 })).scale).toBe(10)
    const { scale, warnings } = await read(old)
    expect({ scale, warnings }).toEqual({ scale: 10, warnings: [expect.stringMatching(/10 is taken$/)] })
  })
  test('without a config it is unknown', async () => {
    const { scale, warnings } = await read(undefined)
    expect({ scale, warnings }).toEqual({ scale: 20, warnings: [expect.stringContaining('UNKNOWN')] })
    expect(await read(undefined, { alpha: 5 })).toEqual({ scale: 2.5, warnings: [] })
  })
})

test.each<[string, Record<string, TestTensor>, Record<string, unknown>, RegExp]>([
  [
    'a full fine-tune',
    { 'model.norm.weight': random([3]) },
    { fine_tune_type: 'full' },
    /"full".* no factors/,
  ],
  ['another method', pair(Q), { ...CONFIG, fine_tune_type: 'oft' }, /fine_tune_type is "oft"/],
  [
    'a method that would break the line',
    pair(Q),
    { ...CONFIG, fine_tune_type: `a\n\u2028\u202e${'x'.repeat(3000)}` },
    /fine_tune_type is "a\\n\\u\{2028\}\\u\{202e\}x{20,60}…; only "lora" and "dora" are read$/,
  ],
  ['a config without parameters', pair(Q), { fine_tune_type: 'lora' }, /lora_parameters is missing/],
  ['no scale', pair(Q), { lora_parameters: { rank: 2 } }, /lora_parameters\.scale is missing/],
  ['a scale that is none', pair(Q), { lora_parameters: { scale: '20' } }, /scale is "20", expected a number/],
  ['a rank that is none', pair(Q), { lora_parameters: { scale: 1, rank: 0.5 } }, /rank is 0\.5, expected/],
  [
    'another rank',
    pair(Q),
    { lora_parameters: { scale: 1, rank: 4 } },
    /is of rank 2, .* says 4; correct the config/,
  ],
  [
    'factors the other way round',
    { [`${Q}.lora_a`]: random([2, 3]), [`${Q}.lora_b`]: random([5, 2]) },
    CONFIG,
    /q_proj\.lora_a" and .* lie the other way round/,
  ],
  ['half a pair', { [`${Q}.lora_a`]: random([3, 2]) }, CONFIG, /not both of lora_a and lora_b/],
  ['a magnitude alone', { ...pair(Q), 'x.m': random([3]) }, CONFIG, /module "x" has "x\.m", and not both/],
  ['no factors', { 'model.norm.weight': random([3]) }, CONFIG, /holds no LoRA tensors/],
  ['no pair', { [`${Q}.lora_a`]: random([3, 2]), [`${Q}.lora_b`]: random([3, 5]) }, CONFIG, /are no pair/],
  [
    'experts of two counts',
    { 'e.lora_a': random([2, 2, 4]), 'e.lora_b': random([3, 5, 2]) },
    CONFIG,
    /are no pair/,
  ],
  [
    'integers',
    {
      [`${Q}.lora_a`]: { shape: [3, 2], dtype: 'I32', data: new Uint8Array(24) },
      [`${Q}.lora_b`]: random([2, 5]),
    },
    CONFIG,
    /stored as I32/,
  ],
  [
    'DoRA of an embedding',
    { ...pair('model.embed_tokens'), 'model.embed_tokens.m': random([3]) },
    CONFIG,
    /is not read/,
  ],
])('%s is refused', async (_, tensors, adapterConfig, message) => {
  await expect(adapterFrom({ tensors, adapterConfig })).rejects.toMatchObject({
    code: 'bad-input',
    message: expect.stringMatching(message),
  })
})

test('another tensor is left out, with a warning', async () => {
  const { ignored, warnings } = await adapterFrom({
    tensors: { ...pair(Q), 'model.norm.weight': random([3]) },
    adapterConfig: CONFIG,
  })
  expect(ignored.map(({ name }) => name)).toEqual(['model.norm.weight'])
  expect(warnings).toEqual([expect.stringMatching(/"model\.norm\.weight" is left out: no part of LoRA$/)])
})

test('a base of other shapes is told by both names', async () => {
  const adapter = await adapterFrom({ tensors: pair(Q), adapterConfig: CONFIG })
  const base = await checkpointOf({ tensors: { [`${Q}.weight`]: random([6, 3]) } })
  expect(() => matchToBase(adapter, base)).toThrow(/lora_a" \[3, 2\].*don't fit the base's/)
})
