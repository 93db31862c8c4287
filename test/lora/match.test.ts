import { describe, expect, test } from 'vitest'
import { matchToBase } from '../../src/lora/match.ts'
import { errorOf } from '../formats/fixtures.ts'
import { adapterFrom, checkpointOf, LORA, pair, type TestTensor } from './support.ts'

const base = (shapes: Record<string, number[]>, config?: Record<string, unknown>) =>
  checkpointOf({
    tensors: Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, { shape }])),
    ...(config === undefined ? {} : { config }),
  })

const kohya = (stem: string): Record<string, TestTensor> => ({
  [`${stem}.lora_down.weight`]: { shape: [2, 3] },
  [`${stem}.lora_up.weight`]: { shape: [4, 2] },
})

/** What each module was matched to, or why it was not. */
async function matches(
  tensors: Record<string, TestTensor>,
  shapes: Record<string, number[]>,
  adapterConfig?: Record<string, unknown>,
) {
  const adapter = await adapterFrom({ tensors, ...(adapterConfig === undefined ? {} : { adapterConfig }) }, 2)
  const { matched, unmatched } = matchToBase(adapter, await base(shapes))
  for (const { module, base: tensor } of matched) expect(module.tensor).toBe(tensor.name)
  return Object.fromEntries([
    ...matched.map(({ module }) => [module.label, module.tensor]),
    ...unmatched.map(({ module, reason }) => [module.label, reason]),
  ])
}

describe('names', () => {
  test.each([
    ['base_model.model.model.layers.0.q_proj', 'model.layers.0.q_proj.weight'],
    ['model.layers.0.q_proj', 'model.layers.0.q_proj.weight'],
    ['base_model.model.layers.0.q_proj', 'model.layers.0.q_proj.weight'],
    ['base_model.model.model.layers.0.q_proj', 'layers.0.q_proj.weight'],
    ['base_model.model.bert.encoder.layer.0.query', 'encoder.layer.0.query.weight'],
    ['base_model.model.encoder.layer.0.query', 'roberta.encoder.layer.0.query.weight'],
    ['base_model.model.transformer.h.0.fc', 'h.0.fc.weight'],
    ['diffusion_model.blocks.0.attn.q', 'model.diffusion_model.blocks.0.attn.q.weight'],
    ['diffusion_model.blocks.0.attn.q', 'blocks.0.attn.q.weight'],
    ['unet.mid_block.attn.to_q', 'mid_block.attn.to_q.weight'],
    ['transformer.blocks.0.attn.to_q', 'transformer.blocks.0.attn.to_q.weight'],
    ['text_encoder.text_model.encoder.fc', 'text_model.encoder.fc.weight'],
    ['text_encoder.text_model.encoder.fc', 'cond_stage_model.transformer.text_model.encoder.fc.weight'],
  ])('%s → %s', async (stem, name) => {
    const found = await matches(pair(stem), { [name]: [4, 3], 'other.weight': [4, 3] })
    expect(Object.values(found)).toEqual([name])
  })

  test.each([
    ['lora_unet_input_blocks_1_1_proj_in', 'model.diffusion_model.input_blocks.1.1.proj_in.weight'],
    ['lora_unet_double_blocks_0_img_attn_qkv', 'double_blocks.0.img_attn.qkv.weight'],
    [
      'lora_te1_text_model_encoder_layers_0_self_attn_q_proj',
      'conditioner.embedders.0.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight',
    ],
    [
      'lora_te_text_model_encoder_layers_0_mlp_fc1',
      'cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight',
    ],
  ])('kohya: %s → %s', async (stem, name) => {
    const found = await matches(kohya(stem), { [name]: [4, 3], 'model.diffusion_model.x.weight': [1, 1] })
    expect(Object.values(found)).toEqual([name])
  })

  test('kohya’s underscores may mean several tensors', async () => {
    const found = await matches(kohya('lora_unet_a_b_c'), { 'a.b_c.weight': [4, 3], 'a_b.c.weight': [4, 3] })
    expect(found).toEqual({ a_b_c: 'may be any of "a.b_c.weight", "a_b.c.weight"' })
  })

  test('no tensor of that name', async () => {
    expect(await matches(pair('model.layers.0.q'), { 'model.layers.0.k.weight': [4, 3] })).toEqual({
      'model.layers.0.q': 'no tensor of the base has this name',
    })
  })

  test('layer 1 is not layer 11', async () => {
    const found = await matches(pair('model.layers.1.q'), { 'model.layers.11.q.weight': [4, 3] })
    expect(Object.values(found)).toEqual(['no tensor of the base has this name'])
  })

  test('two text encoders, one of them in the base: which is meant can’t be told', async () => {
    const tensors = { ...kohya('lora_te1_layers_0_fc'), ...kohya('lora_te2_layers_0_fc') }
    const found = await matches(tensors, { 'layers.0.fc.weight': [4, 3] })
    expect(new Set(Object.values(found))).toEqual(
      new Set(['applies to "layers.0.fc.weight", and so does another module of the adapter']),
    )
  })

  test('whole tensors find their base too', async () => {
    const adapter = await adapterFrom({
      tensors: { 'diffusion_model.norm.diff_b': { shape: [3] }, 'diffusion_model.gone.diff': { shape: [3] } },
    })
    const found = matchToBase(adapter, await base({ 'model.diffusion_model.norm.bias': [3] }))
    expect(found.replaced.map(({ replaced, base: tensor }) => [replaced.name, tensor?.name]).sort()).toEqual([
      ['gone.weight', undefined],
      ['model.diffusion_model.norm.bias', 'model.diffusion_model.norm.bias'],
    ])
  })
})

describe('shapes settle the kind', () => {
  const kindOf = async (
    shape: number[],
    out: number,
    extra: Record<string, unknown>,
    baseConfig = {},
    path = 'h.0.c_attn',
  ) => {
    const adapter = await adapterFrom({ tensors: pair(path, { out }), adapterConfig: { ...LORA, ...extra } })
    const found = matchToBase(adapter, await base({ [`${path}.weight`]: shape }, baseConfig))
    return [found.matched[0].module.kind, found.warnings.length]
  }

  const PAIR = {
    model_type: 'vision-encoder-decoder',
    encoder: { model_type: 'vit' },
    decoder: { model_type: 'gpt2' },
  }

  test.each<
    [string, number[], number, Record<string, unknown>, Record<string, unknown>, string, number, string?]
  >([
    ['[out, in]', [4, 3], 4, {}, {}, 'linear', 0],
    ['[out, in], whatever the config says', [4, 3], 4, { fan_in_fan_out: true }, {}, 'linear', 0],
    ['[in, out]', [3, 4], 4, { fan_in_fan_out: true }, {}, 'conv1d', 0],
    ['[in, out], against the config', [3, 4], 4, {}, {}, 'conv1d', 1],
    ['square: the config says', [3, 3], 3, { fan_in_fan_out: true }, {}, 'conv1d', 0],
    ['square', [3, 3], 3, {}, {}, 'linear', 0],
    ['square in GPT-2', [3, 3], 3, {}, { model_type: 'gpt2' }, 'conv1d', 1],
    [
      'square, and no layer of GPT-2',
      [3, 3],
      3,
      { fan_in_fan_out: true },
      { model_type: 'llama' },
      'linear',
      0,
      'h.0.q',
    ],
    ['square, nothing known', [3, 3], 3, { fan_in_fan_out: true }, {}, 'conv1d', 0, 'h.0.q'],
    [
      'square in GPT-BigCode',
      [3, 3],
      3,
      { fan_in_fan_out: true },
      { model_type: 'gpt_bigcode' },
      'linear',
      0,
    ],
    [
      'square in the GPT-2 of a pair',
      [3, 3],
      3,
      { fan_in_fan_out: true },
      PAIR,
      'conv1d',
      0,
      'decoder.h.0.c_attn',
    ],
    [
      'square in the ViT of a pair',
      [3, 3],
      3,
      { fan_in_fan_out: true },
      PAIR,
      'linear',
      0,
      'encoder.h.0.query',
    ],
    ['of a like name in the ViT of a pair', [3, 3], 3, {}, PAIR, 'linear', 0, 'encoder.h.0.c_proj'],
    ['flat factors of a 1×1 kernel', [4, 3, 1, 1], 4, {}, {}, 'convolution', 0],
  ])('%s', async (_, shape, out, extra, baseConfig, kind, warnings, path) => {
    expect(await kindOf(shape, out, extra, baseConfig, path)).toEqual([kind, warnings])
  })

  test('convolutions', async () => {
    const tensors: Record<string, TestTensor> = {
      'lora_unet_c.lora_down.weight': { shape: [2, 3, 3, 3] },
      'lora_unet_c.lora_up.weight': { shape: [4, 2, 1, 1] },
      'lora_unet_l.lora_down.weight': { shape: [2, 3, 1, 1] },
      'lora_unet_l.lora_up.weight': { shape: [4, 2, 1, 1] },
    }
    const adapter = await adapterFrom({ tensors })
    const found = matchToBase(adapter, await base({ 'c.weight': [4, 3, 3, 3], 'l.weight': [4, 3] }))
    expect(found.matched.map(({ module }) => module.kind)).toEqual(['convolution', 'convolution'])
  })

  test('nested experts are told apart by their shapes', async () => {
    const tensors = {
      ...pair('layers.0.experts.base_layer', { rank: 6, out: 8, columns: 5 }),
      ...pair('layers.0.experts', { rank: 6, out: 5, columns: 4 }),
    }
    const shapes = {
      'model.layers.0.experts.gate_up_proj': [3, 8, 5],
      'model.layers.0.experts.down_proj': [3, 5, 4],
    }
    const expected = {
      'layers.0.experts.base_layer': 'model.layers.0.experts.gate_up_proj',
      'layers.0.experts': 'model.layers.0.experts.down_proj',
    }
    const config = { ...LORA, target_parameters: ['experts.gate_up_proj', 'experts.down_proj'] }
    expect(await matches(tensors, shapes, config)).toEqual(expected)
    // without a config the base's stack tells how many experts there are
    expect(await matches(tensors, shapes)).toEqual(expected)
    const bare = await adapterFrom({ tensors }, 4)
    const found = matchToBase(bare, await base(shapes))
    expect(found.matched.map(({ module }) => [module.rank, module.scale, module.experts])).toEqual([
      [2, 2, 3],
      [2, 2, 3],
    ])
    const square = await matches(tensors, {
      'layers.0.experts.a': [3, 8, 5],
      'layers.0.experts.b': [3, 8, 5],
    })
    expect(square['layers.0.experts.base_layer']).toMatch(/^may be any of/)
  })

  test.each<[string, Record<string, TestTensor>, number[]]>([
    ['linear', pair('m'), [5, 3]],
    [
      'embedding',
      { 'm.lora_embedding_A': { shape: [2, 10] }, 'm.lora_embedding_B': { shape: [4, 2] } },
      [11, 4],
    ],
    [
      'embedding the wrong way round',
      { 'm.lora_embedding_A': { shape: [2, 10] }, 'm.lora_embedding_B': { shape: [4, 2] } },
      [4, 10],
    ],
    [
      'kernel',
      { 'm.lora_A.weight': { shape: [2, 3, 2, 3] }, 'm.lora_B.weight': { shape: [4, 2, 1, 1] } },
      [4, 3, 3, 2],
    ],
  ])('that don’t fit are refused: %s', async (_, tensors, shape) => {
    const adapter = await adapterFrom({ tensors, adapterConfig: LORA })
    const checkpoint = await base({ 'm.weight': shape })
    const error = await errorOf(() => matchToBase(adapter, checkpoint))
    expect(error.code).toBe('bad-input')
    expect(error.message).toMatch(/"m\.lora_.*"m\.lora_.*don't fit the base's "m\.weight" \[/)
  })
})
