import { describe, expect, test } from 'vitest'
import { readFactors, readFloats } from '../../src/lora/factors.ts'
import { type AdapterOptions, adapterOf } from '../../src/lora/read/adapter.ts'
import { checkpointOf, elements, moduleNamed, type TestCheckpoint, type TestTensor } from './support.ts'
import { numbers } from './write-support.ts'

let seed = 1
const random = (shape: readonly number[]): TestTensor => ({
  shape,
  data: Float64Array.from(numbers(elements(shape), seed++), Math.fround),
})

const [HEADS, KEYS, SIZE, R, IN] = [4, 2, 6, 2, 5]
const MODEL = { model_type: 'llama', num_attention_heads: HEADS, num_key_value_heads: KEYS }
const CONFIG = { peft_type: 'LORA', r: R, lora_alpha: 8, target_modules: ['q_proj'] }

const pair = (stem: string, out: number, inputs = IN) => ({
  [`${stem}.lora_a.weight`]: random([R, inputs]),
  [`${stem}.lora_b.weight`]: random([out, R]),
})
const ADAPTER = {
  ...pair('layers.1.attn.q_proj', HEADS * SIZE),
  ...pair('layers.1.attn.k_proj', KEYS * SIZE),
  ...pair('layers.1.attn.v_proj', KEYS * SIZE),
  ...pair('layers.1.attn.output_proj', IN, HEADS * SIZE),
  ...pair('layers.1.mlp.w1', 7),
  ...pair('layers.1.mlp.w2', IN, 7),
  ...pair('layers.1.mlp.w3', 7),
  ...pair('output', 11),
}

/** As torchtune/models/convert_weights.py has it: view(heads, half, 2, columns).transpose(1, 2), row by row. */
function permuted(rows: readonly number[][], heads: number): number[] {
  const size = rows.length / heads
  const found: number[][] = []
  for (let head = 0; head < heads; head++) {
    for (const side of [0, 1]) {
      for (let at = 0; at < size / 2; at++) found.push(rows[head * size + 2 * at + side])
    }
  }
  return found.flat()
}
const rowsOf = ({ shape: [rows, columns = 1], data }: TestTensor) =>
  Array.from({ length: rows }, (_, i) => [...data!.slice(i * columns, (i + 1) * columns)])

const read = async (checkpoint: TestCheckpoint, options: AdapterOptions = {}) =>
  (await adapterOf(await checkpointOf(checkpoint), options))!
const B = async (checkpoint: TestCheckpoint, path: string, options: AdapterOptions = {}) => [
  ...(await readFactors(moduleNamed(await read(checkpoint, options), path))).B.data,
]

describe('modules are those of the Hub’s model', () => {
  test('by name, scaled as the config beside says', async () => {
    const adapter = await read({ tensors: ADAPTER, adapterConfig: CONFIG, config: MODEL })
    expect(adapter).toMatchObject({ format: 'peft', ignored: [], warnings: [] })
    expect(Object.fromEntries(adapter.modules.map(({ path, scale }) => [path, scale]))).toEqual(
      Object.fromEntries(
        [
          'model.layers.1.self_attn.q_proj',
          'model.layers.1.self_attn.k_proj',
          'model.layers.1.self_attn.v_proj',
          'model.layers.1.self_attn.o_proj',
          'model.layers.1.mlp.gate_proj',
          'model.layers.1.mlp.down_proj',
          'model.layers.1.mlp.up_proj',
          'lm_head',
        ].map((path) => [path, 4]),
      ),
    )
  })

  test('without a config the scale is unknown', async () => {
    const { modules, warnings } = await read({ tensors: ADAPTER }, { model: MODEL })
    expect(modules[0].scale).toBe(1)
    expect(warnings.join()).toContain('UNKNOWN')
    expect((await read({ tensors: ADAPTER }, { model: MODEL, alpha: 6 })).modules[0].scale).toBe(3)
  })
})

describe('rows of B in transformers’ order', () => {
  test.each(['llama', 'mistral', 'gemma', 'gemma2'])(
    '%s: those of q_proj and k_proj are permuted',
    async (type) => {
      const checkpoint = { tensors: ADAPTER, config: { ...MODEL, model_type: type } }
      const wanted = (name: string, heads: number) =>
        permuted(rowsOf(ADAPTER[`layers.1.attn.${name}.lora_b.weight`]), heads)
      expect(await B(checkpoint, 'model.layers.1.self_attn.q_proj')).toEqual(wanted('q_proj', HEADS))
      expect(await B(checkpoint, 'model.layers.1.self_attn.k_proj')).toEqual(wanted('k_proj', KEYS))
      const plain = ADAPTER['layers.1.attn.v_proj.lora_b.weight'].data!
      expect(await B(checkpoint, 'model.layers.1.self_attn.v_proj')).toEqual([...plain])
    },
  )

  test.each(['qwen2', 'qwen3'])('%s: none is', async (type) => {
    const checkpoint = { tensors: ADAPTER, config: { ...MODEL, model_type: type } }
    const plain = ADAPTER['layers.1.attn.q_proj.lora_b.weight'].data!
    expect(await B(checkpoint, 'model.layers.1.self_attn.q_proj')).toEqual([...plain])
  })

  test('the base’s config holds where the adapter’s folder has none', async () => {
    const found = await B({ tensors: ADAPTER }, 'model.layers.1.self_attn.q_proj', { model: MODEL })
    expect(found).toEqual(permuted(rowsOf(ADAPTER['layers.1.attn.q_proj.lora_b.weight']), HEADS))
  })

  test('DoRA’s magnitudes go with them', async () => {
    const magnitude = random([HEADS * SIZE])
    const tensors = { ...ADAPTER, 'layers.1.attn.q_proj.magnitude': magnitude }
    const adapter = await read({ tensors, config: MODEL, adapterConfig: { ...CONFIG, use_dora: true } })
    const module = moduleNamed(adapter, 'model.layers.1.self_attn.q_proj')
    expect([...(await readFloats(module.magnitude!))]).toEqual(permuted(rowsOf(magnitude), HEADS))
  })

  test('without any config they are left, or refused where the change has to be known', async () => {
    const checkpoint = { tensors: ADAPTER, adapterConfig: CONFIG }
    const { warnings } = await read(checkpoint)
    expect(warnings).toEqual([expect.stringMatching(/torchtune's names.*left as they are/)])
    await expect(read(checkpoint, { isStrict: true })).rejects.toMatchObject({
      code: 'bad-input',
      message: expect.stringMatching(/whose q_proj and k_proj .*; give the model by --base$/),
    })
    const others = { tensors: pair('layers.1.mlp.w1', 7), adapterConfig: CONFIG }
    expect((await read(others, { isStrict: true })).warnings).toEqual([])
  })
})

test.each<[string, object, RegExp]>([
  [
    'a model whose names mean something else',
    { ...MODEL, model_type: 'phi3' },
    /model type "phi3" are not known/,
  ],
  ['a config without heads', { model_type: 'llama' }, /no num_attention_heads/],
  [
    'heads that the rows are not of',
    { ...MODEL, num_attention_heads: 5 },
    /24 rows, no whole number .* 5 heads/,
  ],
])('%s is refused', async (_, config, message) => {
  await expect(
    read({ tensors: ADAPTER, adapterConfig: CONFIG, config: config as Record<string, unknown> }),
  ).rejects.toMatchObject({ code: 'bad-input', message: expect.stringMatching(message) })
})
