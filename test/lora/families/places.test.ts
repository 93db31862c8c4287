import { isDeepStrictEqual } from 'node:util'
import { describe, expect, test } from 'vitest'
import { moduleNames } from '../../../src/lora/families/modules.ts'
import { placesOf } from '../../../src/lora/families/places.ts'
import { NAMINGS } from '../../../src/lora/families/types.ts'
import { goldens } from '../goldens.ts'
import { flux, prefixed, sd3, weightsOf } from './hollow.ts'
import { ENCODERS, layoutOfAll, SMALL, singleFile } from './whole.ts'

interface Reach {
  readonly what: string
  /** Names that reach a tensor, by ComfyUI's name for the tensor, or by its JSON of the name, the slice and whether halves are swapped. */
  readonly reach: Readonly<Record<string, readonly string[]>>
}
const reached: readonly Reach[] = goldens('goldens/names').filter(({ reach }: Reach) => reach !== undefined)

/** Where the goldens' tensors lie in a single file. */
const FILES: Readonly<Record<string, { id: string; encoders: Readonly<Record<string, string>> }>> = {
  SDXL: {
    id: 'sdxl',
    encoders: { clip_l: 'conditioner.embedders.0.', clip_g: 'conditioner.embedders.1.' },
  },
  Flux: { id: 'flux', encoders: {} },
  SD3: { id: 'sd3', encoders: {} },
  Wan: { id: 'wan', encoders: {} },
  HunyuanVideo: { id: 'hunyuan-video', encoders: {} },
  QwenImage: { id: 'qwen-image', encoders: {} },
}
/** Stable Cascade's name; and a part of Flux's fused rows that is no module of either form. */
const NOT_NAMED = /^lora_prior_te_|linear1_qkv$/

/** The widths that the goldens were made with. */
function fileOf(id: string) {
  const base = new Map(singleFile(id))
  const wide = {
    flux: flux({ hidden: 4, head: 4, double: 1, single: 1 }),
    sd3: sd3({ hidden: 64, depth: 2 }),
  }
  if (id in wide) {
    for (const [name, tensor] of prefixed('model.diffusion_model.', wide[id as 'flux']))
      base.set(name, tensor)
  }
  return base
}

describe('names that reach a weight in ComfyUI reach the same', () => {
  test.each(reached.map((one) => [one.what.replace(/^.*: /, ''), one] as const))('%s', (what, { reach }) => {
    const { id, encoders } = FILES[what]
    const find = placesOf(layoutOfAll(fileOf(id)))
    const tensorOf = (name: string) => {
      if (name.startsWith('diffusion_model.')) return `model.${name}`
      const [encoder, rest] = [name.slice(0, name.indexOf('.')), name.slice(name.indexOf('.') + 1)]
      return `${encoders[encoder] ?? `text_encoders.${encoder}.`}${rest}`
    }
    for (const [key, names] of Object.entries(reach)) {
      const [name, slice] = key.startsWith('[') ? JSON.parse(key) : [key, null]
      const tensor = tensorOf(name)
      if (/bias$/.test(name) || (what === 'SDXL' && name.startsWith('clip_g.'))) continue
      const place = { tensor, ...(slice !== null && { rows: [slice[1], slice[1] + slice[2]] }) }
      for (const one of names.filter((given) => !NOT_NAMED.test(given)))
        expect([one, find(one)]).toEqual([one, [place]])
    }
  })

  test('of SDXL’s second encoder, as its file has it', () => {
    const find = placesOf(layoutOfAll(singleFile('sdxl')))
    const at = 'conditioner.embedders.1.model.'
    const names = reached.find(({ what }) => what.endsWith('SDXL'))!.reach
    const q = names['clip_g.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight']
    const projection = names['clip_g.transformer.text_projection.weight']
    expect([q.length, projection.length]).toEqual([3, 3])
    for (const name of q) {
      expect(find(name)).toEqual([
        { tensor: `${at}transformer.resblocks.0.attn.in_proj_weight`, rows: [0, 8] },
      ])
    }
    for (const name of projection.filter((one) => !NOT_NAMED.test(one))) {
      expect(find(name)).toEqual([{ tensor: `${at}text_projection`, isTransposed: true }])
    }
  })
})

const forms = Object.keys(SMALL).flatMap((id) =>
  layoutOfAll(SMALL[id]()).family.marks.map(({ form }) => [id, form] as const),
)

/** The families whose original forms fuse rows that diffusers keeps apart. */
const FUSED = new Set(['flux', 'sd3', 'hunyuan-video', 'lumina2', 'z-image'])

describe.each(forms)('%s, a base in the %s form', (id, form) => {
  const layout = layoutOfAll(singleFile(id, form))
  const find = placesOf(layout)
  const weights = [
    ...weightsOf(layout.tensors),
    ...[...layout.tensors.keys()].filter((name) => /in_proj_weight$|\.text_projection$/.test(name)),
  ]

  test.each(NAMINGS)('a tensor is found again under its modules’ names in the naming of %s', (naming) => {
    const namer = moduleNames(layout, naming)
    const named = new Map<string, number>()
    const wrong: unknown[] = []
    for (const tensor of [...layout.tensors.keys()].filter((one) => !/[._]bias$/.test(one))) {
      for (const { name, down: _down, up: _up, hasAlpha: _alpha, gaps: _gaps, ...fit } of namer(tensor)!) {
        const places = find(name)
        const isFound = places.some((one) => isDeepStrictEqual(one, { tensor, ...fit }))
        // the parts of one module, and nothing else, share a name
        const isOne = places.length === 1 || places.every(({ moduleRows }) => moduleRows !== undefined)
        if (!isFound || !isOne) wrong.push(name)
        named.set(name, places.length)
      }
    }
    expect(wrong).toEqual([])
    const parts = [...named.values()].filter((count) => count > 1)
    const isJoined = form === 'diffusers' && layout.family.targets[naming].form !== form && FUSED.has(id)
    expect(parts.length > 0).toBe(isJoined)
  })

  test('every weight has a module in ComfyUI’s and diffusers’ naming', () => {
    for (const naming of ['comfyui', 'diffusers'] as const) {
      const namer = moduleNames(layout, naming)
      expect(weights.filter((tensor) => (namer(tensor) ?? []).length === 0)).toEqual([])
    }
    expect(Object.keys(ENCODERS[id]).length).toBe(layout.encoders.length)
  })

  test('other names find nothing', () => {
    for (const name of ['', 'lora_unet_', 'diffusion_model.nothing', 'vae.decoder.conv_in']) {
      expect(find(name)).toEqual([])
    }
  })
})
