import { describe, expect, test } from 'vitest'
import { notLoaded } from '../../src/lora/found-by-loaders.ts'
import { matchToBase } from '../../src/lora/match.ts'
import { adapterFrom, checkpointOf, LORA, pair, type TestTensor } from './support.ts'
import { traitsOf } from './write-support.ts'

const PATH = 'model.layers.0.self_attn.q_proj'
const WRAPPED = 'base_model.model'
const LLAMA = { model_type: 'llama', architectures: ['LlamaForCausalLM'] }

/** What loaders make of an adapter of one module called `stem`, of a base with these tensors besides. */
async function found(
  tensors: Record<string, TestTensor>,
  config: Record<string, unknown> = {},
  {
    base = { [`${PATH}.weight`]: { shape: [4, 3] } },
    model = LLAMA,
  }: { base?: Record<string, TestTensor>; model?: Record<string, unknown> } = {},
) {
  const adapter = await adapterFrom({ tensors, adapterConfig: { ...LORA, ...config } })
  const checkpoint = await checkpointOf({ tensors: base, config: model })
  const { matched, unmatched } = matchToBase(adapter, checkpoint)
  expect(unmatched).toEqual([])
  expect(matched.length).toBe(adapter.modules.length)
  return notLoaded(adapter, matched, traitsOf(checkpoint.tensors, model))
}

const CAUSAL = { task_type: 'CAUSAL_LM' }

describe('names by which loaders find nothing are measured, and told', () => {
  test.each([
    ['without base_model.model.', pair(PATH), {}, ['PEFT'], /begin with base_model\.model\./],
    [
      'one part too many',
      pair(`${WRAPPED}.model.${PATH}`),
      CAUSAL,
      ['PEFT', 'vLLM'],
      /no module of its path/,
    ],
    [
      'one part too few',
      pair(`${WRAPPED}.${PATH.slice('model.'.length)}`),
      CAUSAL,
      ['PEFT', 'vLLM'],
      /a body's, without "model"/,
    ],
    [
      'of a compiled model',
      pair(`${WRAPPED}._orig_mod.${PATH}`),
      CAUSAL,
      ['PEFT', 'vLLM'],
      /no module of its path/,
    ],
    [
      'of checkpointed activations',
      pair(`${WRAPPED}.${PATH.replace('.0.', '.0._checkpoint_wrapped_module.')}`),
      {},
      ['PEFT', 'vLLM'],
      /no module of its path/,
    ],
    [
      'with the adapter’s name inside',
      {
        [`${WRAPPED}.${PATH}.lora_A.default.weight`]: { shape: [2, 3] },
        [`${WRAPPED}.${PATH}.lora_B.default.weight`]: { shape: [4, 2] },
      },
      {},
      ['PEFT', 'vLLM'],
      /adapter's name \(default\)/,
    ],
    [
      'that target_modules leave out',
      pair(`${WRAPPED}.${PATH}`),
      { target_modules: ['v_proj'] },
      ['PEFT'],
      /target_modules/,
    ],
    [
      'that a regular expression leaves out',
      pair(`${WRAPPED}.${PATH}`),
      { target_modules: '.*\\.[kv]_proj' },
      ['PEFT'],
      /target_modules/,
    ],
  ])('%s', async (_, tensors, config, loaders, reason) => {
    const [first, ...others] = await found(tensors as Record<string, TestTensor>, config)
    expect(others).toEqual([])
    expect(first.loaders).toEqual(loaders)
    expect(first.reason).toMatch(reason)
    expect(first.modules).toHaveLength(1)
  })
})

describe('what loaders find is not blamed', () => {
  test.each([
    ['PEFT’s own names', PATH, CAUSAL],
    ['a model without its head', PATH.slice('model.'.length), {}],
    [
      'a regular expression with look-around, which is not read',
      PATH,
      { target_modules: '^(?!.*visual).*q_proj$' },
    ],
    ['all linear layers', PATH, { target_modules: 'all-linear' }],
  ])('%s', async (_, path, config) => {
    expect(await found(pair(`${WRAPPED}.${path}`), config)).toEqual([])
  })

  test('a checkpoint of the bare body, and an adapter of the model with a head', async () => {
    const base = { 'layers.0.self_attn.q_proj.weight': { shape: [4, 3] } }
    expect(await found(pair(`${WRAPPED}.${PATH}`), CAUSAL, { base })).toEqual([])
    expect(await found(pair(`${WRAPPED}.${PATH}`), CAUSAL, { base, model: {} })).toEqual([])
  })

  test('a checkpoint saved out of its wrappers, whose model has none', async () => {
    const base = { [`_orig_mod.${PATH}.weight`]: { shape: [4, 3] } }
    expect(await found(pair(`${WRAPPED}.${PATH}`), CAUSAL, { base })).toEqual([])
  })

  test('a lone file is no adapter of PEFT', async () => {
    const adapter = await adapterFrom({ tensors: pair(PATH) })
    const base = await checkpointOf({ tensors: { [`${PATH}.weight`]: { shape: [4, 3] } } })
    expect(notLoaded(adapter, matchToBase(adapter, base).matched, traitsOf())).toEqual([])
  })
})

describe('modules of classes that PEFT refuses or ignores', () => {
  test.each([
    [
      'a router of a class of its own',
      'model.layers.0.mlp.router',
      'gpt_oss',
      {},
      /load nothing at all: it is a router/,
    ],
    ['out_proj of Mamba', 'model.layers.0.mixer.out_proj', 'mamba', {}, /load nothing at all: .*Mamba/],
    [
      'out_proj of MultiheadAttention',
      'visual.attn.out_proj',
      'clip',
      { 'visual.attn.in_proj_weight': { shape: [9, 3] } },
      /without effect/,
    ],
    ['an embedding as a linear layer', 'model.embed_tokens', 'llama', {}, /it is an embedding/],
  ])('%s', async (_, path, model_type, others, reason) => {
    const target_modules = [path.split('.').at(-1)]
    const base = { [`${path}.weight`]: { shape: [4, 3] }, ...(others as Record<string, TestTensor>) }
    const [first] = await found(
      pair(`${WRAPPED}.${path}`),
      { target_modules },
      { base, model: { model_type } },
    )
    expect(first.reason).toMatch(reason)
  })

  test('a router that releases before transformers 5 take is not blamed', async () => {
    const base = { 'model.layers.0.block_sparse_moe.gate.weight': { shape: [4, 3] } }
    const tensors = pair(`${WRAPPED}.model.layers.0.block_sparse_moe.gate`)
    expect(
      await found(tensors, { target_modules: ['gate'] }, { base, model: { model_type: 'mixtral' } }),
    ).toEqual([])
  })
})
