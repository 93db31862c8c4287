import { describe, expect, test } from 'vitest'
import { adapterOf } from '../../src/lora/read/adapter.ts'
import { adapterFrom, checkpointOf, LORA, type TestTensor } from './support.ts'

const PATH = 'model.layers.0.self_attn.q_proj'
const P = `base_model.model.${PATH}`
const A: TestTensor = { shape: [2, 3] }
const B: TestTensor = { shape: [4, 2] }

describe('an adapter’s name in the keys is no part of them', () => {
  test.each(['default', 'my', 'default_0', '0', 'weight-1'])('%s', async (name) => {
    const adapter = await adapterFrom({
      tensors: {
        [`${P}.lora_A.${name}.weight`]: A,
        [`${P}.lora_B.${name}.weight`]: B,
        [`base_model.model.wte.lora_embedding_A.${name}`]: A,
        [`base_model.model.wte.lora_embedding_B.${name}`]: B,
        [`base_model.model.head.modules_to_save.${name}.weight`]: { shape: [2, 2] },
      },
      adapterConfig: { ...LORA, modules_to_save: ['head'] },
    })
    expect(adapter.modules.map(({ path, rank }) => [path, rank])).toEqual([
      [PATH, 2],
      ['wte', 2],
    ])
    expect(adapter.replaced.map((one) => one.name)).toEqual(['head.weight'])
    expect(adapter.ignored).toEqual([])
  })

  test('without adapter_config.json too, where it was taken for weights', async () => {
    const { modules, format } = await adapterFrom({
      tensors: { [`${PATH}.lora_A.my.weight`]: A, [`${PATH}.lora_B.my.weight`]: B },
    })
    expect({ format, paths: modules.map(({ path }) => path) }).toEqual({ format: 'peft', paths: [PATH] })
  })

  test('two names are two adapters', async () => {
    const tensors = Object.fromEntries(
      ['one', 'two'].flatMap((name) => [
        [`${P}.lora_A.${name}.weight`, A],
        [`${P}.lora_B.${name}.weight`, B],
      ]),
    )
    await expect(adapterFrom({ tensors, adapterConfig: LORA })).rejects.toMatchObject({
      code: 'bad-input',
      message: expect.stringContaining('several adapters ("one", "two")'),
    })
  })
})

describe('what is known and not read is named, and never taken for weights', () => {
  test.each<[string, Record<string, TestTensor>, Record<string, unknown> | undefined, RegExp]>([
    [
      'another spelling',
      { [`${PATH}.lora_left.weight`]: A, [`${PATH}.lora_right.weight`]: B },
      LORA,
      /no LoRA tensors: .*lora_left.* a spelling that is not known/,
    ],
  ])('%s', async (_, tensors, adapterConfig, message) => {
    const checkpoint = await checkpointOf({ tensors, ...(adapterConfig !== undefined && { adapterConfig }) })
    await expect(adapterOf(checkpoint)).rejects.toMatchObject({
      code: 'bad-input',
      message: expect.stringMatching(message),
    })
  })

  test('beside factors that are read it is left out, with a warning, and replaces nothing', async () => {
    const { replaced, ignored, warnings } = await adapterFrom({
      tensors: { [`${P}.lora_A.weight`]: A, [`${P}.lora_B.weight`]: B, [`${P}.lora_gate.weight`]: B },
      adapterConfig: LORA,
    })
    expect(replaced).toEqual([])
    expect(ignored.map(({ name }) => name)).toEqual([`${P}.lora_gate.weight`])
    expect(warnings.join()).toContain('a spelling that is not known')
  })
})

test('low-rank branches of a model’s own stay weights', async () => {
  const own = { [`${PATH}.weight`]: { shape: [4, 3] } }
  const branches = [
    { [`${PATH}.lora_a`]: A, [`${PATH}.lora_b`]: B },
    { [`${PATH}.lora_A.my.weight`]: A, [`${PATH}.lora_B.my.weight`]: B },
    { [`${PATH}.lora_left.weight`]: A },
    { 'qkv.lora_A.vision.weight': A, 'qkv.lora_B.vision.weight': B, 'qkv.base_layer.weight': A },
  ]
  for (const branch of branches) {
    expect(await adapterOf(await checkpointOf({ tensors: { ...own, ...branch } }))).toBeUndefined()
  }
})
