import { describe, expect, test } from 'vitest'
import { incompleteBlocks } from '../../../src/lora/families/complete.ts'
import { type ModuleName, moduleNames } from '../../../src/lora/families/modules.ts'
import { placesOf } from '../../../src/lora/families/places.ts'
import type { Naming, Tensors } from '../../../src/lora/families/types.ts'
import { goldens } from '../goldens.ts'
import { flux, hunyuanVideo, lumina2, prefixed, qwenImage, wan, zImage } from './hollow.ts'
import { clip, openclip } from './hollow-encoders.ts'
import { sd1, sdxl } from './hollow-unet.ts'
import { layoutOfAll, SMALL, singleFile } from './whole.ts'

interface Conversion {
  readonly family: string
  readonly naming: string
  readonly input?: { readonly modules: readonly string[]; readonly downEndsWith: readonly string[] }
  readonly output?: { readonly modules: readonly string[] }
  readonly error?: string
}
const conversions: readonly Conversion[] = goldens('goldens/diffusers').filter(
  ({ input }: Conversion) => input !== undefined,
)

const file = (denoiser: Tensors, encoders: Readonly<Record<string, Tensors>> = {}): Tensors =>
  new Map([
    ...prefixed('model.diffusion_model.', denoiser),
    ...Object.entries(encoders).flatMap(([prefix, base]) => [...prefixed(prefix, base)]),
  ])
const FILES: Readonly<Record<string, () => Tensors>> = {
  flux: () => file(flux({ double: 1, single: 1 })),
  sd1: () => file(sd1(), { 'cond_stage_model.transformer.': clip() }),
  sdxl: () =>
    file(sdxl(), {
      'conditioner.embedders.0.transformer.': clip(),
      'conditioner.embedders.1.model.': openclip(),
    }),
  wan: () => file(wan({ depth: 1 })),
  hunyuanvideo: () => file(hunyuanVideo({ double: 1, single: 1 })),
  'qwen-image': () => file(qwenImage({ depth: 1 })),
  'z-image': () => file(zImage({ depth: 1 })),
  lumina2: () => file(lumina2({ depth: 1 })),
}

/** What diffusers writes U-Nets' and encoders' attention as before it hands them to PEFT. */
const modern = (name: string) =>
  name
    .replace('.processor.', '.')
    .replace(/(?<=\.attn[12]\.to_out)$/, '.0')
    .replace(/(?<=^text_encoder.*)\.to_([qkv])$/, '.$1_proj')
    .replace(/(?<=^text_encoder.*)\.to_out$/, '.out_proj')

const namingOf = (module: string): Naming =>
  module.startsWith('lora_') ? 'kohya' : module.startsWith('diffusion_model.') ? 'comfyui' : 'diffusers'

describe('diffusers makes of foreign names what the rules do', () => {
  const converted = conversions.filter(
    ({ error, family }) => error === undefined && family !== 'hunyuanvideo',
  )
  test.each(converted.map((one) => [one.family, one.naming, one] as const))('%s: %s', (family, _, golden) => {
    const layout = layoutOfAll(FILES[family]())
    const find = placesOf(layout)
    const { modules, downEndsWith } = golden.input!
    const foreign = moduleNames(layout, namingOf(modules[0]))
    const own = moduleNames(layout, 'diffusers')
    const names = modules.flatMap((module) => {
      const places = find(module)
      expect(places.length).toBe(1)
      const [{ tensor, rows }] = places
      const given = foreign(tensor)!.find((one) => one.name === module)
      const isDropped = given?.gaps.some(({ loader }) => loader === 'diffusers') ?? false
      // the model has what was passed on under another name
      if (isDropped && /qkv$/.test(module)) return [`transformer.${module.replace(/^diffusion_model\./, '')}`]
      const made = own(tensor)!.filter((one) => rows === undefined || one.rows?.join() === rows.join())
      return made.map(({ name }) => (isDropped ? name.replace(/^transformer\./, '') : name))
    })
    expect(downEndsWith.length).toBe(1)
    expect(names.sort()).toEqual(golden.output!.modules.map(modern).sort())
  })

  test('a Wan of which one projection is left out', () => {
    const golden = conversions.find(({ naming }) => naming === 'musubi, one module left out')!
    const layout = layoutOfAll(FILES.wan())
    const find = placesOf(layout)
    const paths = golden.input!.modules.map((module) =>
      find(module)[0]
        .tensor.slice(layout.prefix.length)
        .replace(/\.weight$/, ''),
    )
    const [{ rule, missing }, ...rest] = incompleteBlocks(layout.family, 'kohya', paths)
    expect([rule.loader, missing, rest]).toEqual(['diffusers', ['blocks.0.ffn.2'], []])
    expect(golden.error).toBe(`KeyError: '${missing[0].replaceAll('.', '_')}.lora_down.weight'`)
    expect(incompleteBlocks(layout.family, 'kohya', [...paths, 'blocks.0.ffn.2'])).toEqual([])
    expect(incompleteBlocks(layout.family, 'comfyui', paths)).toEqual([])
    // an adapter of the second block alone
    const second = paths.map((path) => path.replace('.0.', '.1.'))
    expect(incompleteBlocks(layout.family, 'kohya', second)[0].missing.length).toBe(11)
  })

  test('where diffusers fails at an alpha, or without one, the spelling is the other', () => {
    const spelling = (family: string, naming: Naming, tensor: string) => {
      const layout = layoutOfAll(FILES[family]())
      const [{ down, hasAlpha }] = moduleNames(layout, naming)(layout.prefix + tensor)!
      return [down, hasAlpha]
    }
    const failing = conversions.filter(({ error }) => error !== undefined)
    expect(failing.map(({ family, naming }) => `${family}: ${naming}`)).toEqual([
      'wan: musubi, one module left out',
      'hunyuanvideo: diffusion_model. + lora_A + alpha',
      'hunyuanvideo: diffusion_model. + lora_down',
      'qwen-image: diffusion_model. + lora_down, no alpha',
    ])
    const qkv = 'double_blocks.0.img_attn.qkv.weight'
    expect(spelling('hunyuanvideo', 'comfyui', qkv)).toEqual(['.lora_A.weight', false])
    const q = 'transformer_blocks.0.attn.to_q.weight'
    expect(spelling('qwen-image', 'comfyui', q)).toEqual(['.lora_down.weight', true])
    expect(spelling('wan', 'comfyui', 'blocks.0.self_attn.q.weight')).toEqual(['.lora_down.weight', true])
    expect(spelling('wan', 'comfyui', 'time_projection.1.weight')).toEqual(['.lora_down.weight', false])
  })
})

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
