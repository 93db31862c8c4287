import { describe, expect, test } from 'vitest'
import { layoutOf, layoutsOf, partOf } from '../../../src/lora/families/layout.ts'
import { moduleNames } from '../../../src/lora/families/modules.ts'
import { placesOf } from '../../../src/lora/families/places.ts'
import { NAMINGS, type Tensors } from '../../../src/lora/families/types.ts'
import { linear, prefixed, tensors } from './hollow.ts'
import { clip, openclip, t5 } from './hollow-encoders.ts'
import { ENCODERS, inForm, layoutOfAll, SMALL, singleFile, WHOLE } from './whole.ts'

const together = (...bases: readonly Tensors[]): Tensors => new Map(bases.flatMap((base) => [...base]))
const vae = tensors(linear('encoder.mid.attn_1.q', 4, 4))

describe('each family is known in each form, under each prefix', () => {
  test.each(Object.entries(SMALL))('%s', (id, model) => {
    const layout = layoutOfAll(model())
    for (const { form } of layout.family.marks) {
      const base = inForm(layout, form)
      const prefixes =
        form === 'diffusers'
          ? ['', `${layout.family.component}.`]
          : ['', 'model.diffusion_model.', 'diffusion_model.', 'model.']
      for (const prefix of prefixes) {
        const found = layoutOfAll(together(prefixed('vae.', vae), prefixed(prefix, base)))
        expect(found).toMatchObject({ family: { id }, form, prefix, encoders: [] })
        expect([...found.denoiser.paths]).toEqual([...base.keys()])
        expect(partOf(found, 'vae.encoder.mid.attn_1.q.weight')).toEqual({ kind: 'vae' })
      }
    }
  })

  test.each(Object.entries(WHOLE))('%s, as large as it is', (name, model) => {
    const ids: Readonly<Record<string, string>> = {
      'SD 1.x': 'sd1',
      SDXL: 'sdxl',
      hunyuanvideo: 'hunyuan-video',
    }
    const { id } = layoutOfAll(model()).family
    expect(id).toBe(
      ids[name] ??
        name
          .replace(/[-\d].*/, '')
          .replace('qwen', 'qwen-image')
          .replace('lumina', 'lumina2')
          .replace('sd', 'sd3'),
    )
  })
})

describe('text encoders and the rest of single files and pipelines', () => {
  test.each([
    ['sd1', ['clip_l transformers']],
    ['sd2', ['clip_h openclip']],
    ['sdxl', ['clip_l transformers', 'clip_g openclip']],
    ['sd3', ['clip_l transformers', 'clip_g transformers', 't5xxl transformers']],
    ['flux', ['clip_l transformers', 't5xxl transformers']],
    ['wan', ['umt5xxl transformers']],
    ['hunyuan-video', ['llama transformers', 'clip_l transformers']],
    ['qwen-image', ['qwen25_7b transformers']],
    ['lumina2', ['gemma2_2b transformers']],
    ['z-image', ['qwen3_4b transformers']],
  ] as const)('%s', (id, expected) => {
    const encoders = Object.values(ENCODERS[id])
    const base = together(singleFile(id), prefixed('first_stage_model.', vae), prefixed('model_ema.', vae))
    const layout = layoutOfAll(base)
    expect(layout.family.id).toBe(id)
    expect(layout.encoders.map(({ encoder, form }) => `${encoder.id} ${form}`)).toEqual(expected)
    const ofKind = (kind: string) => [...base.keys()].filter((name) => partOf(layout, name).kind === kind)
    expect(ofKind('encoder').length).toBe(encoders.reduce((sum, { size }) => sum + size, 0))
    expect(ofKind('denoiser').length).toBe(SMALL[id]().size)
    expect(ofKind('vae').length).toBe(vae.size)
    expect(ofKind('other').length).toBe(vae.size)
  })

  test('SDXL’s refiner has the second encoder alone', () => {
    const denoiser = prefixed('model.diffusion_model.', SMALL.sdxl())
    const layout = layoutOfAll(together(denoiser, prefixed('conditioner.embedders.0.model.', openclip())))
    expect(layout.encoders.map(({ encoder, form }) => `${encoder.id} ${form}`)).toEqual(['clip_g openclip'])
  })

  test('Wan 2.2 has two denoisers, each with its own names in diffusers', () => {
    const denoiser = inForm(layoutOfAll(SMALL.wan()), 'diffusers')
    const components = ['transformer', 'transformer_2']
    const layouts = layoutsOf(together(...components.map((one) => prefixed(`${one}.`, denoiser))))
    expect(layouts.map(({ prefix, component }) => [prefix, component])).toEqual(
      components.map((one) => [`${one}.`, one]),
    )
    for (const [i, layout] of layouts.entries()) {
      expect([...layout.denoiser.paths]).toEqual([...denoiser.keys()])
      const tensor = `${components[i]}.blocks.0.attn1.to_q.weight`
      const names = NAMINGS.map((naming) => moduleNames(layout, naming)(tensor)![0].name)
      expect(names).toEqual([
        'lora_unet_blocks_0_self_attn_q',
        'diffusion_model.blocks.0.self_attn.q',
        `${components[i]}.blocks.0.attn1.to_q`,
      ])
      expect(placesOf(layout)(names[2])).toEqual([{ tensor }])
      expect(placesOf(layouts[1 - i])(names[2])).toEqual([])
    }
  })

  test('an encoder that the family isn’t known to have is no part of a bare denoiser', () => {
    const other = 'text_encoders.qwen3_06b.transformer.'
    const layout = layoutOfAll(together(SMALL.flux(), prefixed(other, t5())))
    expect(layout.prefix).toBe('')
    expect(partOf(layout, `${other}shared.weight`)).toEqual({ kind: 'other' })
    expect([...layout.denoiser.paths].length).toBe(SMALL.flux().size)
  })

  test('pipelines', () => {
    const unet = prefixed('unet.', inForm(layoutOfAll(SMALL.sdxl()), 'diffusers'))
    const base = together(
      unet,
      prefixed('text_encoder.', clip()),
      prefixed('text_encoder_2.', clip({ projection: 4 })),
      prefixed('vae.', vae),
    )
    const layout = layoutOfAll(base)
    expect(layout).toMatchObject({ family: { id: 'sdxl' }, form: 'diffusers', prefix: 'unet.' })
    expect(layout.encoders.map(({ prefix, encoder }) => [prefix, encoder.id])).toEqual([
      ['text_encoder.', 'clip_l'],
      ['text_encoder_2.', 'clip_g'],
    ])
  })
})

describe('of no family', () => {
  const without = (base: Tensors, pattern: RegExp) =>
    new Map([...base].filter(([name]) => !pattern.test(name)))
  test.each([
    ['a language model', tensors(linear('model.layers.0.self_attn.q_proj', 8, 8))],
    ['a VAE', prefixed('first_stage_model.', vae)],
    ['T5 alone', prefixed('text_encoders.t5xxl.transformer.', t5())],
    ['Chroma, whose blocks have no modulations', without(SMALL.flux(), /_mod\./)],
    ['a ControlNet of Stable Diffusion', without(SMALL.sd1(), /^out\.|^output_/)],
    ['HunyuanImage', together(SMALL['hunyuan-video'](), tensors(linear('byt5_in.fc1', 8, 8)))],
    ['nothing', tensors()],
  ])('%s', (_, base) => expect(layoutOf(base)).toBeUndefined())
})
