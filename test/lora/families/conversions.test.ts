import { describe, expect, test } from 'vitest'
import { incompleteBlocks } from '../../../src/lora/families/complete.ts'
import { moduleNames } from '../../../src/lora/families/modules.ts'
import { placesOf } from '../../../src/lora/families/places.ts'
import type { Naming, Tensors } from '../../../src/lora/families/types.ts'
import { goldens } from '../goldens.ts'
import { flux, hunyuanVideo, qwenImage, wan } from './hollow.ts'
import { clip, openclip } from './hollow-encoders.ts'
import { lumina2, zImage } from './hollow-lumina.ts'
import { sd1, sdxl } from './hollow-unet.ts'
import { file, layoutOfAll } from './whole.ts'

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
