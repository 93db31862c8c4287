import { describe, expect, test } from 'vitest'
import { type ModuleName, moduleNames } from '../../../src/lora/families/modules.ts'
import { otherLayout } from '../../../src/lora/families/other.ts'
import { placesOf } from '../../../src/lora/families/places.ts'
import type { Naming } from '../../../src/lora/families/types.ts'
import { linear, prefixed, tensors } from './hollow.ts'
import { clip, llm } from './hollow-encoders.ts'
import { file, layoutOfAll, SMALL, singleFile } from './whole.ts'

/** A module's name, with its rows if any, without its spelling and gaps. */
const brief = (modules: readonly ModuleName[] | undefined) =>
  modules?.map(({ name, rows, moduleRows, swapHalves, isTransposed }) =>
    [
      name,
      rows,
      moduleRows && { module: moduleRows },
      swapHalves && 'swapped',
      isTransposed && 'transposed',
    ].filter((one) => one !== undefined),
  )
const namesIn = (id: string, tensor: string, base = singleFile(id)) =>
  (['kohya', 'comfyui', 'diffusers'] as const).map((naming) =>
    brief(moduleNames(layoutOfAll(base), naming)(tensor)),
  )

describe('the names of one module in the three namings', () => {
  const unet = 'model.diffusion_model.'
  test.each([
    [
      'sd1',
      `${unet}input_blocks.4.1.transformer_blocks.0.attn1.to_out.0.weight`,
      'lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0',
      'diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_out.0',
      'unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0',
    ],
    [
      'sdxl',
      `${unet}output_blocks.2.2.conv.weight`,
      'lora_unet_output_blocks_2_2_conv',
      'diffusion_model.output_blocks.2.2.conv',
      'unet.up_blocks.0.upsamplers.0.conv',
    ],
    [
      'hunyuan-video',
      `${unet}double_blocks.0.img_mlp.0.weight`,
      'lora_unet_double_blocks_0_img_mlp_0',
      'diffusion_model.double_blocks.0.img_mlp.fc1',
      'transformer.transformer_blocks.0.ff.net.0.proj',
    ],
    [
      'sd3',
      'text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.weight',
      'lora_te3_encoder_block_0_layer_0_SelfAttention_q',
      'text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q',
      'text_encoder_3.encoder.block.0.layer.0.SelfAttention.q',
    ],
    [
      'lumina2',
      'text_encoders.gemma2_2b.transformer.model.layers.0.self_attn.q_proj.weight',
      'lora_te_layers_0_self_attn_q_proj',
      'text_encoders.gemma2_2b.transformer.model.layers.0.self_attn.q_proj',
      'text_encoder.model.layers.0.self_attn.q_proj',
    ],
  ])('%s: %s', (id, tensor, kohya, comfyui, diffusers) => {
    expect(namesIn(id, tensor)).toEqual([[[kohya]], [[comfyui]], [[diffusers]]])
  })

  test('fused rows, from either side', () => {
    const [kohya, comfyui, diffusers] = namesIn('flux', `${unet}single_blocks.0.linear1.weight`)
    expect([kohya, comfyui]).toEqual([
      [['lora_unet_single_blocks_0_linear1']],
      [['diffusion_model.single_blocks.0.linear1']],
    ])
    const at = 'transformer.single_transformer_blocks.0.'
    expect(diffusers).toEqual([
      [`${at}attn.to_q`, [0, 12]],
      [`${at}attn.to_k`, [12, 24]],
      [`${at}attn.to_v`, [24, 36]],
      [`${at}proj_mlp`, [36, 84]],
    ])
    const base = prefixed('transformer.', singleFile('flux', 'diffusers'))
    const inner = new Map([...base].map(([name, tensor]) => [name.replace(unet, ''), tensor]))
    expect(namesIn('flux', `${at}proj_mlp.weight`, inner)).toEqual([
      [['lora_unet_single_blocks_0_linear1', { module: [36, 84] }]],
      [['diffusion_model.single_blocks.0.linear1', { module: [36, 84] }]],
      [[`${at}proj_mlp`]],
    ])
    expect(placesOf(layoutOfAll(inner))('lora_unet_single_blocks_0_linear1').length).toBe(4)
  })

  test('of keys and values that share heads', () => {
    const [, , diffusers] = namesIn('lumina2', `${unet}layers.0.attention.qkv.weight`)
    const at = 'transformer.layers.0.attn.'
    expect(diffusers).toEqual([
      [`${at}to_q`, [0, 12]],
      [`${at}to_k`, [12, 16]],
      [`${at}to_v`, [16, 20]],
    ])
  })

  test('halves swapped: the last layer’s, and of SD 3 the last block’s context', () => {
    for (const id of ['flux', 'sd3', 'hunyuan-video']) {
      const [kohya, , diffusers] = namesIn(id, `${unet}final_layer.adaLN_modulation.1.weight`)
      expect(kohya).toEqual([['lora_unet_final_layer_adaLN_modulation_1']])
      expect(diffusers).toEqual([['transformer.norm_out.linear', 'swapped']])
    }
    const ofBlock = (i: number) =>
      namesIn('sd3', `${unet}joint_blocks.${i}.context_block.adaLN_modulation.1.weight`)[2]
    expect([0, 1, 2].map(ofBlock)).toEqual([
      [['transformer.transformer_blocks.0.norm1_context.linear']],
      [['transformer.transformer_blocks.1.norm1_context.linear']],
      [['transformer.transformer_blocks.2.norm1_context.linear', 'swapped']],
    ])
  })

  test('open_clip’s fused and turned matrices', () => {
    const at = 'conditioner.embedders.1.model.'
    const [kohya, comfyui, diffusers] = namesIn('sdxl', `${at}transformer.resblocks.1.attn.in_proj_weight`)
    expect(kohya).toEqual([
      ['lora_te2_text_model_encoder_layers_1_self_attn_q_proj', [0, 8]],
      ['lora_te2_text_model_encoder_layers_1_self_attn_k_proj', [8, 16]],
      ['lora_te2_text_model_encoder_layers_1_self_attn_v_proj', [16, 24]],
    ])
    expect(comfyui![2]).toEqual([
      'text_encoders.clip_g.transformer.text_model.encoder.layers.1.self_attn.v_proj',
      [16, 24],
    ])
    expect(diffusers![0]).toEqual(['text_encoder_2.text_model.encoder.layers.1.self_attn.q_proj', [0, 8]])
    expect(namesIn('sdxl', `${at}text_projection`)).toEqual([
      [['lora_te2_text_projection', 'transposed']],
      [['text_encoders.clip_g.transformer.text_projection', 'transposed']],
      [['text_encoder_2.text_projection', 'transposed']],
    ])
    expect(
      namesIn('sdxl', `${at}transformer.resblocks.0.attn.in_proj_bias`)[0]!.map(([, rows]) => rows),
    ).toEqual([
      [0, 8],
      [8, 16],
      [16, 24],
    ])
  })

  test('files of SD 1 without text_model. in their names', () => {
    const prefix = 'cond_stage_model.transformer.'
    const bare = new Map([...clip()].map(([name, tensor]) => [name.replace(/^text_model\./, ''), tensor]))
    const base = file(SMALL.sd1(), { [prefix]: bare })
    const tensor = `${prefix}encoder.layers.0.mlp.fc1.weight`
    expect(namesIn('sd1', tensor, base)[0]).toEqual([['lora_te_text_model_encoder_layers_0_mlp_fc1']])
  })

  test.each(['', 'model.', 'model.language_model.', 'language_model.model.'])(
    'language models whose layers lie under %j',
    (before) => {
      const base = file(SMALL['hunyuan-video'](), { 'text_encoder.': llm({ prefix: before }) })
      expect(namesIn('hunyuan-video', `text_encoder.${before}layers.1.mlp.up_proj.weight`, base)).toEqual([
        [],
        [['text_encoders.llama.transformer.model.layers.1.mlp.up_proj']],
        [[`text_encoder.${before}layers.1.mlp.up_proj`]],
      ])
    },
  )

  test('a model of no known family keeps its own names', () => {
    const at = ['model.diffusion_model.', '', 'net.']
    for (const prefix of at) {
      const layout = otherLayout(
        prefixed(prefix, tensors(...[0, 1, 2].map((i) => linear(`blocks.${i}.to_q`, 4, 4)))),
      )
      expect(layout.prefix).toBe(prefix)
      const [{ name, gaps }] = moduleNames(layout, 'comfyui')(`${prefix}blocks.0.to_q.weight`)!
      expect([name, gaps]).toEqual(['diffusion_model.blocks.0.to_q', []])
      for (const module of ['lora_unet_blocks_0_to_q', 'transformer.blocks.0.to_q', name]) {
        expect(placesOf(layout)(module)).toEqual([{ tensor: `${prefix}blocks.0.to_q.weight` }])
      }
    }
  })

  test('parameters that are no module’s keep their full names, and VAEs have none', () => {
    expect(namesIn('wan', `${unet}blocks.0.modulation`)[1]).toEqual([['diffusion_model.blocks.0.modulation']])
    const base = new Map([...singleFile('wan'), ['vae.conv.weight', { shape: [3, 3] }] as const])
    expect(namesIn('wan', 'vae.conv.weight', base)).toEqual([undefined, undefined, undefined])
  })
})

describe('text encoders that loaders pass over', () => {
  const missing = (id: string, naming: Naming, tensor: string) =>
    moduleNames(
      layoutOfAll(singleFile(id)),
      naming,
    )(tensor)!
      .flatMap(({ gaps }) => gaps.map(({ loader, effect }) => `${loader} ${effect}`))
      .sort()
  const clipL = 'text_encoders.clip_l.transformer.text_model.'
  const t5 = 'text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.weight'
  test.each([
    ['flux', 'kohya', `${clipL}encoder.layers.0.mlp.fc1.weight`, []],
    [
      'flux',
      'kohya',
      `${clipL}embeddings.token_embedding.weight`,
      ['ComfyUI dropped', 'diffusers dropped', 'kohya dropped'],
    ],
    ['flux', 'comfyui', `${clipL}encoder.layers.0.mlp.fc1.weight`, ['kohya dropped']],
    ['flux', 'kohya', t5, ['diffusers dropped']],
    ['flux', 'diffusers', t5, ['ComfyUI dropped', 'diffusers dropped', 'kohya dropped']],
    ['sd3', 'kohya', `${clipL}encoder.layers.0.self_attn.q_proj.weight`, ['diffusers dropped']],
    ['sd3', 'diffusers', `${clipL}encoder.layers.0.self_attn.q_proj.weight`, ['kohya dropped']],
    [
      'wan',
      'comfyui',
      'text_encoders.umt5xxl.transformer.encoder.block.0.layer.1.DenseReluDense.wo.weight',
      ['diffusers refused'],
    ],
  ] as const)('%s, %s: %s', (id, naming, tensor, expected) => {
    expect(missing(id, naming, tensor)).toEqual(expected)
  })

  test('kohya has no names of encoders that it doesn’t train', () => {
    const q = 'text_encoders.qwen25_7b.transformer.model.layers.0.self_attn.q_proj.weight'
    expect(moduleNames(layoutOfAll(singleFile('qwen-image')), 'kohya')(q)).toEqual([])
  })
})
