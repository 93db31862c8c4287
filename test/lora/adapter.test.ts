import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tensorsOf } from '../../src/lora/model.ts'
import { adapterOf } from '../../src/lora/read/adapter.ts'
import { errorOf } from '../formats/fixtures.ts'
import { adapterFrom, checkpointOf, LORA, moduleNamed, pair, type TestTensor } from './support.ts'
import '../property-seed.ts'

const q = 'base_model.model.model.layers.0.self_attn.q_proj'
const path = 'model.layers.0.self_attn.q_proj'
const scalar = (value: number, shape: number[] = []): TestTensor => ({ shape, data: Float64Array.of(value) })

describe('PEFT', () => {
  test('a folder: path, base tensor and scale of each module', async () => {
    const adapter = await adapterFrom({ tensors: pair(q), adapterConfig: LORA })
    expect(adapter.format).toBe('peft')
    expect(adapter.warnings).toEqual([])
    expect(adapter.modules).toHaveLength(1)
    expect(adapter.modules[0]).toMatchObject({
      path,
      prefix: 'base_model.model.',
      label: path,
      tensor: `${path}.weight`,
      rank: 2,
      alpha: 4,
      scale: 2,
      kind: 'linear',
    })
    expect(tensorsOf(adapter.modules[0].product).map(({ shape }) => shape)).toEqual([
      [2, 3],
      [4, 2],
    ])
    expect(structuredClone(adapter)).toEqual(adapter)
  })

  test.each([
    ['without the prefix', pair(path)],
    [
      'with the old .default. infix',
      {
        [`${q}.lora_A.default.weight`]: { shape: [2, 3] },
        [`${q}.lora_B.default.weight`]: { shape: [4, 2] },
      },
    ],
  ])('names %s', async (_, tensors) => {
    const adapter = await adapterFrom({ tensors, adapterConfig: LORA })
    expect(adapter.modules.map(({ path, scale }) => [path, scale])).toEqual([[path, 2]])
  })

  test('ranks and alphas by pattern, and rank-stabilised scales', async () => {
    const tensors = {
      ...pair(q, { rank: 4 }),
      ...pair('base_model.model.model.layers.0.self_attn.k_proj', { rank: 2 }),
      ...pair('base_model.model.model.layers.10.self_attn.q_proj', { rank: 2 }),
    }
    const adapterConfig = {
      ...LORA,
      use_rslora: true,
      rank_pattern: { '^model\\.layers\\.0\\..*q_proj': 4 },
      alpha_pattern: { k_proj: 6, 'layers.0.self_attn.k_proj': 100 },
    }
    const adapter = await adapterFrom({ tensors, adapterConfig })
    const scales = adapter.modules.map(({ path, scale }) => [path, scale])
    expect(Object.fromEntries(scales)).toEqual({
      [path]: 4 / Math.sqrt(4),
      'model.layers.0.self_attn.k_proj': 6 / Math.sqrt(2),
      'model.layers.10.self_attn.q_proj': 4 / Math.sqrt(2),
    })
  })

  test('an alpha of 0 is no change, which is said', async () => {
    const tensors = {
      ...pair(q, { rank: 2 }),
      ...pair('base_model.model.model.layers.0.self_attn.k_proj', { rank: 2 }),
    }
    const adapterConfig = { ...LORA, alpha_pattern: { k_proj: 0 } }
    const { modules, warnings } = await adapterFrom({ tensors, adapterConfig })
    expect(modules.map(({ scale }) => scale).sort()).toEqual([0, 2])
    expect(warnings).toEqual([
      'lora_alpha is 0 for 1 module of 2: PEFT multiplies by 0, and nothing is changed there',
    ])
  })

  test('embeddings, convolutions, biases and magnitudes', async () => {
    const adapter = await adapterFrom({
      tensors: {
        'base_model.model.embed.lora_embedding_A': { shape: [2, 10] },
        'base_model.model.embed.lora_embedding_B': { shape: [5, 2] },
        'base_model.model.embed.base_layer.weight': { shape: [10, 5] },
        'base_model.model.conv.lora_A.weight': { shape: [2, 3, 3, 3] },
        'base_model.model.conv.lora_B.weight': { shape: [6, 2, 1, 1] },
        'base_model.model.conv.lora_magnitude_vector': { shape: [1, 6, 1, 1] },
        ...pair(q),
        [`${q}.lora_B.bias`]: { shape: [4] },
      },
      adapterConfig: { ...LORA, lora_bias: true, use_dora: true },
    })
    expect(moduleNamed(adapter, 'embed')).toMatchObject({ kind: 'embedding', tensor: 'embed.weight' })
    expect(moduleNamed(adapter, 'conv')).toMatchObject({ kind: 'convolution', rank: 2 })
    expect(moduleNamed(adapter, 'conv').magnitude?.shape).toEqual([1, 6, 1, 1])
    expect(moduleNamed(adapter, path).bias?.shape).toEqual([4])
    expect(adapter.ignored).toEqual([
      { name: 'base_model.model.embed.base_layer.weight', reason: 'a copy of the base' },
    ])
    expect(adapter.warnings).toEqual([expect.stringMatching(/^1 module is DoRA/)])
  })

  test('whole tensors replace the base’s', async () => {
    const adapter = await adapterFrom({
      tensors: {
        ...pair(q),
        'base_model.model.lm_head.weight': { shape: [5, 3] },
        'base_model.model.model.norm.weight': { shape: [3] },
        'base_model.model.score.modules_to_save.default.weight': { shape: [2, 3] },
        'base_model.model.score.original_module.weight': { shape: [2, 3] },
        [`${q}.base_layer.bias`]: { shape: [4] },
      },
      adapterConfig: { ...LORA, modules_to_save: ['lm_head', 'norm', 'score'], bias: 'lora_only' },
    })
    expect(adapter.replaced.map(({ name, how }) => [name, how]).sort()).toEqual([
      ['lm_head.weight', 'replace'],
      [`${path}.bias`, 'replace'],
      ['model.norm.weight', 'replace'],
      ['score.weight', 'replace'],
    ])
    expect(adapter.ignored.map(({ name }) => name)).toEqual(['base_model.model.score.original_module.weight'])
  })

  test('fan_in_fan_out is believed until a base is matched', async () => {
    const adapter = await adapterFrom({ tensors: pair(q), adapterConfig: { ...LORA, fan_in_fan_out: true } })
    expect(adapter.modules[0].kind).toBe('conv1d')
  })

  test('stacked experts: two parameters of one module', async () => {
    const experts = 'base_model.model.model.layers.0.mlp.experts'
    const adapter = await adapterFrom({
      tensors: { ...pair(experts, { rank: 6 }), ...pair(`${experts}.base_layer`, { rank: 6, out: 8 }) },
      adapterConfig: { ...LORA, target_parameters: ['mlp.experts.gate_up_proj', 'mlp.experts.down_proj'] },
    })
    expect(adapter.modules.map(({ kind, rank, experts, scale }) => [kind, rank, experts, scale])).toEqual([
      ['experts', 2, 3, 2],
      ['experts', 2, 3, 2],
    ])
    const single = await adapterFrom({
      tensors: pair(experts, { rank: 6 }),
      adapterConfig: {
        ...LORA,
        target_parameters: ['mlp.experts.down_proj'],
        alpha_pattern: { 'experts.down_proj': 1 },
      },
    })
    expect(single.modules[0]).toMatchObject({
      tensor: 'model.layers.0.mlp.experts.down_proj',
      scale: 0.5,
    })
  })

  test('without a config an .alpha tensor or the option gives the scale, else 1 with a warning', async () => {
    const bare = await adapterFrom({ tensors: pair(q) })
    expect(bare.modules[0].scale).toBe(1)
    expect(bare.warnings).toEqual([expect.stringMatching(/^the scale of 1 module is UNKNOWN/)])
    const given = await adapterFrom({ tensors: pair(q) }, 8)
    expect([given.modules[0].scale, given.warnings]).toEqual([4, []])
    const stored = await adapterFrom({ tensors: { ...pair(q), [`${q}.alpha`]: scalar(6) } }, 8)
    expect([stored.modules[0].scale, stored.warnings]).toEqual([3, []])
  })

  test('what a config leaves off is not applied, as PEFT leaves it off', async () => {
    const adapter = await adapterFrom({
      tensors: {
        ...pair(q),
        [`${q}.lora_B.bias`]: { shape: [4] },
        [`${q}.lora_magnitude_vector`]: { shape: [4] },
        [`${q}.alpha`]: scalar(64),
      },
      adapterConfig: LORA,
    })
    expect(adapter.modules[0]).toMatchObject({ scale: 2, alpha: 4, storedAlpha: 64 })
    expect(adapter.modules[0].bias).toBeUndefined()
    expect(adapter.modules[0].magnitude).toBeUndefined()
    expect(adapter.ignored.map(({ name }) => name).sort()).toEqual([
      `${q}.lora_B.bias`,
      `${q}.lora_magnitude_vector`,
    ])
  })

  test.each([
    [
      { init_lora_weights: 'pissa_niter_4' },
      /^init_lora_weights is "pissa_niter_4": the adapter belongs to a base/,
    ],
    [{ layer_replication: [[0, 4]] }, /^layer_replication is set/],
    [{ alora_invocation_tokens: [1, 2] }, /aLoRA/],
  ])('%j is warned of', async (extra, warning) => {
    const adapter = await adapterFrom({ tensors: pair(q), adapterConfig: { ...LORA, ...extra } })
    expect(adapter.warnings).toEqual([expect.stringMatching(warning)])
  })
})

describe('kohya', () => {
  const unet = 'lora_unet_input_blocks_1_1_proj_in'
  const kohya = (stem: string, rank = 2): Record<string, TestTensor> => ({
    [`${stem}.lora_down.weight`]: { shape: [rank, 3] },
    [`${stem}.lora_up.weight`]: { shape: [4, rank] },
  })

  test('alpha over rank, and 1 without alpha', async () => {
    const adapter = await adapterFrom({
      tensors: {
        ...kohya(unet),
        [`${unet}.alpha`]: scalar(1),
        ...kohya('lora_te1_text_model_encoder_layers_0_mlp_fc1'),
        ...kohya('lora_te2_text_model_encoder_layers_0_mlp_fc1', 4),
        'lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha': scalar(4, [1]),
        ...kohya('lycoris_blocks_0_attn'),
        'lycoris_blocks_0_attn.alpha': {
          shape: [],
          dtype: 'I64',
          data: new Uint8Array([6, 0, 0, 0, 0, 0, 0, 0]),
        },
      },
    })
    expect(adapter.format).toBe('kohya')
    expect(adapter.warnings).toEqual([])
    expect(Object.fromEntries(adapter.modules.map(({ label, scale }) => [label, scale]))).toEqual({
      input_blocks_1_1_proj_in: 0.5,
      lora_te1_text_model_encoder_layers_0_mlp_fc1: 1,
      lora_te2_text_model_encoder_layers_0_mlp_fc1: 1,
      blocks_0_attn: 3,
    })
  })

  test('convolutions with and without a Tucker core', async () => {
    const adapter = await adapterFrom({
      tensors: {
        [`${unet}.lora_down.weight`]: { shape: [2, 3, 1, 1] },
        [`${unet}.lora_mid.weight`]: { shape: [2, 2, 3, 3] },
        [`${unet}.lora_up.weight`]: { shape: [4, 2, 1, 1] },
        [`${unet}.dora_scale`]: { shape: [4, 1, 1, 1] },
        'lora_unet_conv.lora_down.weight': { shape: [2, 3, 3, 3] },
        'lora_unet_conv.lora_up.weight': { shape: [4, 2, 1, 1] },
      },
    })
    expect(adapter.modules.map(({ kind }) => kind)).toEqual(['convolution', 'convolution'])
    const { product } = moduleNamed(adapter, 'input_blocks_1_1_proj_in')
    expect(tensorsOf(product)[2].shape).toEqual([2, 2, 3, 3])
    expect(moduleNamed(adapter, 'input_blocks_1_1_proj_in').magnitude).toBeDefined()
  })

  test('names that no loader knows are listed', async () => {
    const adapter = await adapterFrom({ tensors: { ...kohya(unet), 'lora_unet_x.other': { shape: [1] } } })
    expect(adapter.ignored.map(({ name }) => name)).toEqual(['lora_unet_x.other'])
    expect(adapter.warnings).toEqual([expect.stringContaining('"lora_unet_x.other" is left out')])
  })
})

describe('ComfyUI and diffusers', () => {
  test.each([
    ['.lora_down.weight', '.lora_up.weight'],
    ['_lora.down.weight', '_lora.up.weight'],
    ['.lora_A.weight', '.lora_B.weight'],
    ['.lora.down.weight', '.lora.up.weight'],
    ['.lora_A', '.lora_B'],
    ['.lora_linear_layer.down.weight', '.lora_linear_layer.up.weight'],
    ['.lora_A.default.weight', '.lora_B.default.weight'],
  ])('the spelling %s', async (down, up) => {
    const adapter = await adapterFrom({
      tensors: {
        [`diffusion_model.blocks.0.attn${down}`]: { shape: [2, 3] },
        [`diffusion_model.blocks.0.attn${up}`]: { shape: [4, 2] },
        'diffusion_model.blocks.0.attn.alpha': scalar(1),
      },
    })
    expect(adapter.format).toBe('comfyui')
    expect(adapter.modules).toMatchObject([
      { path: 'blocks.0.attn', prefix: 'diffusion_model.', scale: 0.5, tensor: 'blocks.0.attn.weight' },
    ])
  })

  test('exact parts', async () => {
    const adapter = await adapterFrom({
      tensors: {
        'diffusion_model.norm.diff': { shape: [3] },
        'diffusion_model.norm.diff_b': { shape: [3] },
        'diffusion_model.out.set_weight': { shape: [3, 3] },
        'diffusion_model.a.bias.diff': { shape: [3] },
        'diffusion_model.ln.w_norm': { shape: [3] },
        'diffusion_model.ln.b_norm': { shape: [3] },
      },
    })
    expect(adapter.format).toBe('comfyui')
    expect(adapter.modules).toEqual([])
    expect(adapter.replaced.map(({ name, how }) => `${name} ${how}`).sort()).toEqual([
      'a.bias add',
      'ln.bias add',
      'ln.weight add',
      'norm.bias add',
      'norm.weight add',
      'out.weight replace',
    ])
  })

  test('diffusers, with the configs of its components in the metadata', async () => {
    const tensors = { ...pair('unet.mid.to_q'), ...pair('text_encoder.text_model.fc', { rank: 4 }) }
    const plain = await adapterFrom({ tensors })
    expect([plain.format, plain.modules.map(({ scale }) => scale), plain.warnings]).toEqual([
      'diffusers',
      [1, 1],
      [],
    ])
    const json = {
      'unet.r': 2,
      'unet.lora_alpha': 8,
      'text_encoder.r': 2,
      'text_encoder.lora_alpha': 2,
      'text_encoder.rank_pattern': { fc: 4 },
    }
    const adapter = await adapterFrom({ tensors, metadata: { lora_adapter_metadata: JSON.stringify(json) } })
    expect(Object.fromEntries(adapter.modules.map(({ path, scale }) => [path, scale]))).toEqual({
      'mid.to_q': 4,
      'text_model.fc': 0.5,
    })
    const broken = await errorOf(() => adapterFrom({ tensors, metadata: { lora_adapter_metadata: '{' } }))
    expect(broken.message).toMatch(/lora_adapter_metadata is no right JSON/)
  })

  test('GPT-2’s trunk is also called transformer', async () => {
    const adapter = await adapterFrom({ tensors: pair('transformer.h.0.attn.c_attn') }, 2)
    expect([adapter.format, adapter.modules[0].path]).toEqual(['peft', 'transformer.h.0.attn.c_attn'])
  })
})

describe('no adapters', () => {
  test.each<[string, Record<string, TestTensor>]>([
    ['a model', { 'model.norm.weight': { shape: [3] }, 'model.q_proj.weight': { shape: [3, 3] } }],
    ['nothing', {}],
    ['a model with branches of its own', { ...pair('blocks.0.q'), 'blocks.0.q.weight': { shape: [4, 3] } }],
    ['a model with parameters named alpha', { 'a.alpha': { shape: [1] }, 'a.weight': { shape: [2, 2] } }],
    [
      'RWKV',
      { 'att.w_lora.lora.0.weight': { shape: [2, 3] }, 'att.w_lora.lora.2.weight': { shape: [3, 2] } },
    ],
    [
      'adapters within a model (Phi-4)',
      { 'qkv.lora_A.vision.weight': { shape: [2, 3] }, 'qkv.base_layer.weight': { shape: [3, 3] } },
    ],
    ['a module named lora_A', { 'lora_A.weight': { shape: [2, 3] }, 'lora_B.weight': { shape: [3, 2] } }],
    ['a part of GLoRA’s names', { 'x.a1.weight': { shape: [2, 2] }, 'x.b1.weight': { shape: [2, 2] } }],
    ['differences beside weights', { 'x.diff': { shape: [2] }, 'y.weight': { shape: [2] } }],
  ])('%s', async (_, tensors) => {
    expect(await adapterOf(await checkpointOf({ tensors }))).toBeUndefined()
  })

  test('random names are none, and never stop the opener', async () => {
    const part = fc.constantFrom(
      'lora',
      'A',
      'B',
      'weight',
      'alpha',
      'layers',
      '0',
      'diff_c',
      'up',
      'lora_C',
      'mid',
    )
    const name = fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) => parts.join('.'))
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(name, { maxLength: 5 }), async (names) => {
        const tensors = Object.fromEntries(names.map((key) => [key, { shape: [2, 2] }]))
        const expected = names.some((key) => /\.lora\.(up|down)\.weight$/.test(key))
        fc.pre(!expected && !names.some((key) => key.endsWith('.alpha')))
        expect(await adapterOf(await checkpointOf({ tensors }))).toBeUndefined()
      }),
      { numRuns: 50 },
    )
  })
})

describe('refused', () => {
  const A = { [`${q}.lora_A.weight`]: { shape: [2, 3] } }
  const B = { [`${q}.lora_B.weight`]: { shape: [4, 2] } }

  test.each<[string, Record<string, TestTensor>, RegExp]>([
    [
      'a part of a LoHa',
      { 'lora_unet_x.hada_w1_a': { shape: [2, 2] } },
      /tensor "lora_unet_x.hada_w1_a" of a module without hada_w1_b/,
    ],
    ['a part of a LoKr', { 'lycoris_x.lokr_w1': { shape: [2, 2] } }, /of a module without lokr_w2_a/],
    ['OFT', { 'lora_unet_x.oft_blocks': { shape: [2, 2] } }, /belongs to OFT/],
    ['AdaLoRA', { 'm.x.lora_A': { shape: [2, 3] }, 'm.x.lora_E': { shape: [2, 1] } }, /belongs to AdaLoRA/],
    ['VeRA', { 'base_model.model.x.vera_lambda_b': { shape: [2] } }, /belongs to VeRA/],
    [
      'GLoRA',
      {
        'x.a1.weight': { shape: [2, 2] },
        'x.a2.weight': { shape: [2, 2] },
        'x.b1.weight': { shape: [2, 2] },
        'x.b2.weight': { shape: [2, 2] },
      },
      /belongs to GLoRA/,
    ],
    ['A alone', A, /has the factor A \(down\) in ".*lora_A.weight", but no B \(up\)/],
    ['B alone', B, /has the factor B \(up\) in ".*lora_B.weight", but no A \(down\)/],
    [
      'other ranks',
      { ...A, [`${q}.lora_B.weight`]: { shape: [4, 3] } },
      /lora_A.weight" and ".*lora_B.weight" of the shapes \[2, 3\] and \[4, 3\] are no pair/,
    ],
    [
      'a grouped convolution',
      { [`${q}.lora_A.weight`]: { shape: [4, 3, 3, 3] }, [`${q}.lora_B.weight`]: { shape: [8, 2, 1, 1] } },
      /of a grouped convolution/,
    ],
    [
      'a kernel in B',
      { [`${q}.lora_A.weight`]: { shape: [2, 3, 1, 1] }, [`${q}.lora_B.weight`]: { shape: [4, 2, 3, 3] } },
      /B's kernel has to be 1/,
    ],
    [
      'rank 0',
      { [`${q}.lora_A.weight`]: { shape: [0, 3] }, [`${q}.lora_B.weight`]: { shape: [4, 0] } },
      /has the shape \[0, 3\]/,
    ],
    [
      'a vector',
      { [`${q}.lora_A.weight`]: { shape: [3] }, ...B },
      /has the shape \[3\]; a factor has 2 to 5/,
    ],
    [
      'integers',
      { [`${q}.lora_A.weight`]: { shape: [2, 3], dtype: 'I8', data: new Uint8Array(6) }, ...B },
      /is stored as I8; a factor is made of floats/,
    ],
    [
      'a wrong core',
      {
        'lora_unet_x.lora_down.weight': { shape: [2, 3, 1, 1] },
        'lora_unet_x.lora_up.weight': { shape: [4, 2, 1, 1] },
        'lora_unet_x.lora_mid.weight': { shape: [3, 2, 3, 3] },
      },
      /the core of rank 2 is \[2, 2, …kernel\]/,
    ],
    [
      'an alpha of several numbers',
      { ...A, ...B, [`${q}.alpha`]: { shape: [2] } },
      /has the shape \[2\]; alpha is one number/,
    ],
    [
      'a module twice',
      { ...A, ...B, ...pair(path) },
      /"base_model.*lora_A.weight" and "model.*lora_A.weight" are both the A/,
    ],
    [
      'the infix and none',
      { ...A, ...B, [`${q}.lora_A.default.weight`]: { shape: [2, 3] } },
      /are both the A of the module/,
    ],
    [
      'two kinds at once',
      { ...A, ...B, [`${q}.lora_embedding_A`]: { shape: [2, 3] } },
      /it is either an embedding or not/,
    ],
  ])('%s', async (_, tensors, message) => {
    const error = await errorOf(() => adapterFrom({ tensors }))
    expect(error.code).toBe('bad-input')
    expect(error.message).toMatch(message)
    expect(error.tensor).toBeDefined()
  })

  test.each<[string, Record<string, unknown>, Record<string, TestTensor>, RegExp]>([
    [
      'another rank than the config’s',
      { r: 8 },
      pair(q),
      /has 2 rows, the config says rank 8: PEFT refuses to load that/,
    ],
    ['another method', { peft_type: 'OFT' }, pair(q), /is a "OFT" adapter/],
    ['no tensors', {}, {}, /holds no LoRA tensors/],
    [
      'experts of half a rank',
      { target_parameters: ['q_proj.w'] },
      pair(q, { rank: 3 }),
      /no multiple of the config's rank 2/,
    ],
    [
      'experts whose patterns differ',
      { target_parameters: ['q_proj.w', 'q_proj.v'], rank_pattern: { 'q_proj.v': 3 } },
      pair(q, { rank: 6 }),
      /the names don't tell which/,
    ],
  ])('%s', async (_, extra, tensors, message) => {
    const error = await errorOf(() => adapterFrom({ tensors, adapterConfig: { ...LORA, ...extra } }))
    expect(error.code).toBe('bad-input')
    expect(error.message).toMatch(message)
  })
})
