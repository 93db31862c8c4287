import { describe, expect, test } from 'vitest'
import {
  SCALED_LOADERS as LOADERS,
  loaderScales,
  loaderWarnings,
  scaleDisagreements,
} from '../../src/lora/loader-scales.ts'

import { adapterFrom, LORA, moduleNamed, pair, type TestTensor } from './support.ts'

const p = 'base_model.model.'

const UNFOUND = 'it finds no names such as base_model.model.q_proj.lora_A.weight'

/** Scale or refusal of each loader. */
async function scalesOf(
  tensors: Record<string, TestTensor>,
  adapterConfig?: Record<string, unknown>,
  label = 'q_proj',
) {
  const adapter = await adapterFrom({ tensors, ...(adapterConfig === undefined ? {} : { adapterConfig }) })
  const scales = loaderScales(adapter, moduleNamed(adapter, label))
  expect(scales.map(({ loader }) => loader)).toEqual(LOADERS)
  return Object.fromEntries(scales.map(({ loader, scale, refusal }) => [loader, scale ?? refusal]))
}

describe('the scales of FORMATS.md’s table', () => {
  const two = { ...pair(`${p}q_proj`, { rank: 2 }), ...pair(`${p}o_proj`, { rank: 8 }) }
  const patterns = { ...LORA, r: 8, lora_alpha: 16, rank_pattern: { q_proj: 2 } }

  test('one rank, alpha = r: 1 everywhere', async () => {
    expect(await scalesOf(pair(`${p}q_proj`), { ...LORA, lora_alpha: 2 })).toEqual({
      ...Object.fromEntries(LOADERS.map((loader) => [loader, 1])),
      ComfyUI: UNFOUND,
    })
  })

  test.each<[string, Record<string, unknown>, (number | string)[]]>([
    // PEFT, vLLM, SGLang, llama.cpp, TensorRT-LLM, ComfyUI
    ['rank_pattern', patterns, [8, 2, 2, 8, 8, UNFOUND]],
    ['alpha_pattern', { ...patterns, alpha_pattern: { q_proj: 2 } }, [1, 2, 2, 8, 8, UNFOUND]],
    [
      'rslora',
      { ...LORA, use_rslora: true },
      [4 / Math.sqrt(2), 4 / Math.sqrt(2), 2, 2, 4 / Math.sqrt(2), UNFOUND],
    ],
    ['alpha 0', { ...LORA, lora_alpha: 0 }, [0, 0, 0, 1, 0, UNFOUND]],
  ])('%s', async (name, config, expected) => {
    const tensors = name.endsWith('pattern') ? two : pair(`${p}q_proj`)
    expect(Object.values(await scalesOf(tensors, config))).toEqual(expected)
  })

  test('an .alpha tensor counts for ComfyUI alone', async () => {
    const module = 'transformer_blocks.0.attn.q_proj'
    const alpha = { shape: [], data: Float64Array.of(6) }
    const tensors = { ...pair(p + module), [`${p}${module}.alpha`]: alpha }
    const scales = await scalesOf(tensors, LORA, module)
    expect([scales.PEFT, scales.ComfyUI]).toEqual([2, 3])
    expect([scales.vLLM, scales['llama.cpp']]).toEqual([
      `it refuses tensors that are no factors (${module}.alpha)`,
      `it stops at tensors that are no factors (${module}.alpha)`,
    ])
  })

  test('kohya’s files are ComfyUI’s', async () => {
    const tensors = {
      'lora_unet_x.lora_down.weight': { shape: [2, 3] },
      'lora_unet_x.lora_up.weight': { shape: [4, 2] },
      'lora_unet_x.alpha': { shape: [], data: Float64Array.of(1) },
    }
    const scales = await scalesOf(tensors, undefined, 'x')
    expect(scales.ComfyUI).toBe(0.5)
    expect(scales.PEFT).toBe('it reads PEFT adapters')
    expect(loaderWarnings(await adapterFrom({ tensors }))).toEqual([])
  })

  test('without adapter_config.json', async () => {
    const scales = await scalesOf(pair(`${p}q_proj`))
    expect([scales.PEFT, scales.ComfyUI]).toEqual(['it needs adapter_config.json', UNFOUND])
  })
})

describe('ComfyUI is not said to load what it finds no names for', () => {
  test.each([
    ['base_model.model.transformer_blocks.0.attn.to_q', 'transformer_blocks.0.attn.to_q', 1],
    ['diffusion_model.blocks.0.self_attn.q', 'blocks.0.self_attn.q', 1],
    ['transformer.single_transformer_blocks.0.attn.to_q', 'single_transformer_blocks.0.attn.to_q', 1],
    ['unet.down_blocks.0.attn1.to_q', 'down_blocks.0.attn1.to_q', /as .processor.to_q/],
    ['text_encoder.text_model.q_proj', 'text_model.q_proj', /no names such as text_encoder/],
    ['base_model.model.down_blocks.0.attn1.to_q', 'down_blocks.0.attn1.to_q', /no names/],
    ['base_model.model.model.layers.0.self_attn.q_proj', 'model.layers.0.self_attn.q_proj', /diffusion/],
  ])('%s', async (stem, label, expected) => {
    const { ComfyUI: said } = await scalesOf(pair(stem), undefined, label)
    if (typeof expected === 'number') expect(said).toBe(expected)
    else expect(said).toMatch(expected)
  })
})

test('what loaders say of a whole adapter is found once, not for each module', async () => {
  const { modules, ...rest } = await adapterFrom({
    tensors: Object.assign({}, ...Array.from({ length: 50 }, (_, i) => pair(`${p}layers.${i}.q_proj`))),
    adapterConfig: LORA,
  })
  let reads = 0
  const adapter = {
    ...rest,
    get modules() {
      reads++
      return modules
    },
  }
  for (const module of modules) loaderScales(adapter, module)
  expect(reads).toBeLessThan(5)
})

describe('refusals', () => {
  const q = pair(`${p}q_proj`)
  test.each<[string, string, Record<string, TestTensor>, Record<string, unknown>, RegExp]>([
    [
      'vLLM',
      'modules_to_save',
      { ...q, [`${p}lm_head.weight`]: { shape: [2, 2] } },
      { modules_to_save: ['lm_head'] },
      /modules_to_save \(lm_head\)/,
    ],
    [
      'vLLM',
      'other tensors',
      { ...q, [`${p}norm.weight`]: { shape: [2] } },
      {},
      /no factors \(base_model.model.norm.weight\)/,
    ],
    [
      'vLLM',
      'DoRA',
      { ...q, [`${p}q_proj.lora_magnitude_vector`]: { shape: [4] } },
      { use_dora: true },
      /DoRA/,
    ],
    ['vLLM', 'bias', q, { bias: 'all' }, /bias "all"/],
    [
      'vLLM',
      'lora_bias',
      { ...q, [`${p}q_proj.lora_B.bias`]: { shape: [4] } },
      { lora_bias: true },
      /lora_bias/,
    ],
    ['vLLM', 'layer_replication', q, { layer_replication: [[0, 1]] }, /layer_replication/],
    ['vLLM', 'aLoRA', q, { alora_invocation_tokens: [1] }, /aLoRA/],
    ['vLLM', 'PiSSA', q, { init_lora_weights: 'pissa' }, /init_lora_weights "pissa"/],
    // found by bench/fuzz.mjs: a value of the config may be of any length
    ['vLLM', 'an init of its own', q, { init_lora_weights: 'x'.repeat(3000) }, /weights "x{40}…x{40}"$/],
    ['vLLM', 'rank 513', pair(`${p}q_proj`, { rank: 513 }), { r: 513 }, /rank 513, above 512/],
    ['SGLang', 'a pattern of targets', q, { target_modules: '.*q_proj' }, /regular expression/],
    [
      'SGLang',
      'unequal ranks',
      { ...q, ...pair(`${p}k_proj`, { rank: 4 }) },
      { rank_pattern: { k_proj: 4 } },
      /equal ranks in q_proj, k_proj, v_proj: q_proj has 2, k_proj 4/,
    ],
    [
      'llama.cpp',
      'lora_bias',
      { ...q, [`${p}q_proj.lora_B.bias`]: { shape: [4] } },
      { lora_bias: true },
      /stops at .*lora_B.bias/,
    ],
    [
      'llama.cpp',
      'DoRA',
      { ...q, [`${p}q_proj.lora_magnitude_vector`]: { shape: [4] } },
      { use_dora: true },
      /stops at .*lora_magnitude_vector/,
    ],
    [
      'llama.cpp',
      'full embeddings',
      { ...q, [`${p}embed_tokens.weight`]: { shape: [2, 2] } },
      {},
      /embed_tokens.weight/,
    ],
    [
      'llama.cpp',
      'the .default. infix',
      {
        [`${p}q_proj.lora_A.default.weight`]: { shape: [2, 3] },
        [`${p}q_proj.lora_B.default.weight`]: { shape: [4, 2] },
      },
      {},
      /doesn't know the name/,
    ],
    [
      'llama.cpp',
      'convolutions',
      {
        [`${p}q_proj.lora_A.weight`]: { shape: [2, 3, 3, 3] },
        [`${p}q_proj.lora_B.weight`]: { shape: [4, 2, 1, 1] },
      },
      {},
      /convolutions/,
    ],
    ['llama.cpp', 'experts', pair(`${p}q_proj`, { rank: 4 }), { target_parameters: ['q_proj.w'] }, /experts/],
    [
      'TensorRT-LLM',
      'experts',
      pair(`${p}q_proj`, { rank: 4 }),
      { target_parameters: ['q_proj.w'] },
      /experts/,
    ],
    [
      'ComfyUI',
      'embeddings',
      {
        [`${p}q_proj.lora_embedding_A`]: { shape: [2, 3] },
        [`${p}q_proj.lora_embedding_B`]: { shape: [4, 2] },
      },
      {},
      /lora_embedding_A/,
    ],
    ['ComfyUI', 'language models', q, { task_type: 'CAUSAL_LM' }, /diffusion/],
  ])('%s: %s', async (loader, _, tensors, extra, refusal) => {
    expect((await scalesOf(tensors, { ...LORA, ...extra }))[loader]).toMatch(refusal)
  })

  test('vLLM and llama.cpp skip what they know', async () => {
    const tensors = { ...q, [`${p}embed.base_layer.weight`]: { shape: [2, 2] } }
    const scales = await scalesOf(tensors, LORA)
    expect([scales.vLLM, scales['llama.cpp']]).toEqual([2, 2])
    const norm = await scalesOf({ ...q, [`${p}model.norm.weight`]: { shape: [2] } }, LORA)
    expect(norm['llama.cpp']).toBe(2)
  })

  test('vLLM asks for fields that PEFT does not', async () => {
    const scales = await scalesOf(q, { peft_type: 'LORA', r: 2 })
    expect([scales.PEFT, scales.vLLM]).toEqual([
      4,
      'it needs lora_alpha, target_modules in adapter_config.json',
    ])
    expect(scales['llama.cpp']).toBe('it needs lora_alpha in adapter_config.json')
    expect(scales['TensorRT-LLM']).toBe('it needs lora_alpha in adapter_config.json')
  })
})

describe('disagreements', () => {
  const lm = { ...LORA, task_type: 'CAUSAL_LM', target_modules: ['q_proj', 'o_proj'] }
  const three = {
    ...pair(`${p}a.o_proj`),
    ...pair(`${p}b.o_proj`),
    ...pair(`${p}c.o_proj`, { rank: 4 }),
  }

  test('none for one rank', async () => {
    const adapter = await adapterFrom({ tensors: pair(`${p}q_proj`), adapterConfig: lm })
    expect(scaleDisagreements(adapter)).toEqual([])
    expect(loaderWarnings(adapter)).toEqual([])
  })

  test('grouped by loader and scales, and a line each', async () => {
    const adapterConfig = { ...lm, rank_pattern: { 'c.o_proj': 4 }, alpha_pattern: { 'c.o_proj': 4 } }
    const adapter = await adapterFrom({ tensors: three, adapterConfig })
    expect(scaleDisagreements(adapter)).toEqual([
      { loader: 'vLLM', modules: ['c.o_proj'], scale: 2, expected: 1 },
      { loader: 'SGLang', modules: ['c.o_proj'], scale: 2, expected: 1 },
    ])
    expect(loaderWarnings(adapter)).toEqual([
      'vLLM scales 1 of 3 modules by 2 where PEFT scales it by 1',
      'SGLang scales 1 of 3 modules by 2 where PEFT scales it by 1',
    ])
  })

  test('several scales in one line', async () => {
    const adapterConfig = { ...lm, rank_pattern: { 'c.o_proj': 4 }, use_rslora: true }
    const adapter = await adapterFrom({ tensors: three, adapterConfig })
    expect(loaderWarnings(adapter)).toEqual(
      [
        'vLLM scales 1 of 3 modules by 2.828 where PEFT scales it by 2',
        'llama.cpp scales 3 of 3 modules otherwise than PEFT, such as a.o_proj by 2 where PEFT scales it by 2.828',
        'SGLang scales 2 of 3 modules by 2 where PEFT scales them by 2.828',
      ].sort((a, b) => LOADERS.findIndex((l) => a.startsWith(l)) - LOADERS.findIndex((l) => b.startsWith(l))),
    )
  })

  test('a rounded .alpha is no disagreement', async () => {
    const stem = 'diffusion_model.x'
    const tensors = {
      ...pair(stem),
      [`${stem}.alpha`]: { shape: [], dtype: 'BF16' as const, data: Float64Array.of(1.001) },
    }
    expect(scaleDisagreements(await adapterFrom({ tensors }))).toEqual([])
  })

  test('refusals are a line a loader', async () => {
    const tensors = { ...three, [`${p}lm_head.weight`]: { shape: [2, 2] } }
    const adapterConfig = { ...lm, rank_pattern: { 'c.o_proj': 4 }, modules_to_save: ['lm_head'] }
    expect(loaderWarnings(await adapterFrom({ tensors, adapterConfig }))).toEqual([
      'SGLang scales 1 of 3 modules by 2 where PEFT scales it by 1',
      'vLLM does not load this adapter: it refuses modules_to_save (lm_head)',
      'llama.cpp does not load this adapter: it stops at tensors that are no factors (base_model.model.lm_head.weight)',
    ])
  })

  test('an adapter of MLX is none of a diffusion model, and ComfyUI not to blame', async () => {
    const tensors = { 'lm_head.lora_a': { shape: [3, 2] }, 'lm_head.lora_b': { shape: [2, 5] } }
    const adapterConfig = { fine_tune_type: 'lora', num_layers: 4, lora_parameters: { rank: 2, scale: 1 } }
    expect(loaderWarnings(await adapterFrom({ tensors, adapterConfig }))).toEqual([])
  })
})
