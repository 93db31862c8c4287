import { createHash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { describe, expect, test } from 'vitest'
import type { Layout } from '../../../src/lora/families/layout.ts'
import type { Form, Link, Tensors } from '../../../src/lora/families/types.ts'
import { goldens } from '../goldens.ts'
import { flux, linear, sd3, tensors } from './hollow.ts'
import { sd1, sdxl } from './hollow-unet.ts'
import { inForm, layoutOfAll, SMALL, WHOLE } from './whole.ts'

interface ComfyMap {
  readonly what: string
  readonly count: number
  readonly sha256OfSortedLines: string
  readonly samples: readonly string[]
}
const maps: readonly ComfyMap[] = goldens('goldens/names').slice(0, 4)

/** A line of ComfyUI's map, as Python writes it. */
const comfyLine = (original: string, { path, rows, swapHalves }: Link) => {
  if (rows === undefined && !swapHalves) return `${path}\t${original}`
  const slice = rows === undefined ? 'null' : `[0, ${rows[0]}, ${rows[1] - rows[0]}]`
  return `${path}\t[${JSON.stringify(original)}, ${slice}, ${swapHalves ?? false}]`
}

function linesOf(base: Tensors): Set<string> {
  const { family, denoiser } = layoutOfAll(base)
  const rename = family.rename(denoiser, 'diffusers')
  return new Set([...denoiser.paths].flatMap((path) => rename(path)!.map((link) => comfyLine(path, link))))
}

/** ComfyUI's map names the labels' embedding both ways. */
const unetLines = (base: Tensors) =>
  [...linesOf(base)].flatMap((line) =>
    /^(?:add|class)_/.test(line)
      ? ['add', 'class'].map((one) => line.replace(/^(?:add|class)_/, `${one}_`))
      : [line],
  )

const MAPS: Readonly<Record<string, () => Iterable<string>>> = {
  'SD 1.x U-Net': () => unetLines(sd1({ all: true, labels: 2816 })),
  'SDXL U-Net': () => unetLines(sdxl({ all: true })),
  'Flux.1': () => linesOf(new Map([...flux(), ...tensors(linear('pos_embed_input', 3072, 64))])),
  'SD3 medium': () => linesOf(sd3({ all: true })),
}

describe('ComfyUI’s maps between the two forms, line by line', () => {
  test.each(maps.map((map) => [map.what, map] as const))('%s', (what, golden) => {
    const lines = [...MAPS[what]()].sort()
    expect(golden.samples.filter((line) => !lines.includes(line))).toEqual([])
    expect(lines.length).toBe(golden.count)
    expect(createHash('sha256').update(lines.join('\n')).digest('hex')).toBe(golden.sha256OfSortedLines)
  })
})

const FORMS: Readonly<Record<string, readonly Form[]>> = { 'hunyuan-video': ['original', 'repacked'] }

/** What each path becomes in another form and back again, with its rows where it was in parts. */
function thereAndBack(layout: Layout, to: Form) {
  const { family, denoiser } = layout
  const there = family.rename(denoiser, to)
  const other = layoutOfAll(inForm(layout, to))
  expect(other).toMatchObject({ family: { id: family.id }, form: to, prefix: '' })
  const back = family.rename(other.denoiser, denoiser.form)
  return [...denoiser.paths].map((path) => ({
    path,
    shape: denoiser.shapeOf(path)!,
    links: there(path)!.map((link) => ({ link, back: back(link.path) })),
  }))
}

// Qwen-Image's two forms are one
const models = [
  ...[...Object.entries(SMALL), ...Object.entries(WHOLE)].filter(([name]) => name !== 'qwen-image'),
  ['KOALA, of one layer a level', () => sdxl({ model: 4, layers: 1 })],
  ['an SD 1 of three layers a level', () => sd1({ model: 4, layers: 3 })],
] as const

describe.each(models)('%s', (_, model) => {
  const { family, denoiser } = layoutOfAll(model())
  test.each(FORMS[family.id] ?? ['original'])(
    'every tensor goes from the %s form to diffusers’ and back',
    (from) => {
      const base = from === denoiser.form ? model() : inForm(layoutOfAll(model()), from)
      const lost: string[] = []
      const wrong: unknown[] = []
      for (const { path, shape, links } of thereAndBack(layoutOfAll(base), 'diffusers')) {
        if (links.length === 0) lost.push(path)
        const came = links.map(({ link: { rows, swapHalves } }) => [
          { path, ...(rows && { rows }), ...(swapHalves && { swapHalves }) },
        ])
        if (
          !isDeepStrictEqual(
            came,
            links.map(({ back }) => back),
          )
        )
          wrong.push(links)
        // parts lie one upon another, and fill the whole
        const ends = links.flatMap(({ link: { rows } }) => rows ?? [])
        const inner = ends.slice(1, -1).filter((_, i) => i % 2 === 0)
        const isWhole = ends[0] === 0 && ends.at(-1) === shape[0]
        const isTight = isDeepStrictEqual(
          inner,
          ends.slice(2).filter((_, i) => i % 2 === 0),
        )
        if (links.length > 1 && !(isWhole && isTight)) wrong.push(links)
      }
      expect(wrong).toEqual([])
      expect(lost).toEqual(family.id === 'lumina2' ? ['norm_final.weight'] : [])
    },
  )
})

test('HunyuanVideo’s two original forms, one from the other', () => {
  const layout = layoutOfAll(WHOLE.hunyuanvideo())
  const twoWays = thereAndBack(layout, 'original').map(({ links }) => links.map(({ back }) => back))
  expect(twoWays).toEqual([...layout.denoiser.paths].map((path) => [[{ path }]]))
  // comfy/supported_models.py, HunyuanVideo.process_unet_state_dict @2025-10-12, as it stands there
  const repack = (name: string) =>
    name
      .replace('txt_in.t_embedder.mlp.0.', 'txt_in.t_embedder.in_layer.')
      .replace('txt_in.t_embedder.mlp.2.', 'txt_in.t_embedder.out_layer.')
      .replace('txt_in.c_embedder.linear_1.', 'txt_in.c_embedder.in_layer.')
      .replace('txt_in.c_embedder.linear_2.', 'txt_in.c_embedder.out_layer.')
      .replace('_mod.linear.', '_mod.lin.')
      .replace('_attn_qkv.', '_attn.qkv.')
      .replace('mlp.fc1.', 'mlp.0.')
      .replace('mlp.fc2.', 'mlp.2.')
      .replace('_attn_q_norm.weight', '_attn.norm.query_norm.scale')
      .replace('_attn_k_norm.weight', '_attn.norm.key_norm.scale')
      .replace('.q_norm.weight', '.norm.query_norm.scale')
      .replace('.k_norm.weight', '.norm.key_norm.scale')
      .replace('_attn_proj.', '_attn.proj.')
      .replace('.modulation.linear.', '.modulation.lin.')
      .replace('_in.mlp.2.', '_in.out_layer.')
      .replace('_in.mlp.0.', '_in.in_layer.')
  expect([...inForm(layout, 'original').keys()].map(repack)).toEqual([...layout.denoiser.paths])
})

const UNKNOWN = [
  'control_adapter.conv.weight',
  'blocks.0.adapter.weight',
  'layers.0.weight',
  'double_blocks.0.processor.qkv.weight',
  'input_blocks.1.0.time_stack.in_layers.0.weight',
  'input_blocks.1.1.transformer_blocks.0.attn2.to_k_ip.weight',
  'middle_block.1.adapter.weight',
]

test('names that no rule knows are not guessed', () => {
  for (const model of Object.values(SMALL)) {
    const { family, denoiser } = layoutOfAll(model())
    if (family.targets.diffusers.form === denoiser.form) continue
    const rename = family.rename(denoiser, 'diffusers')
    for (const path of UNKNOWN) expect(rename(path)).toBeUndefined()
  }
})

test('fused rows that have no room for their parts are not cut', () => {
  const { family, denoiser } = layoutOfAll(SMALL.flux())
  const shapeOf = () => [37, 12]
  const rename = family.rename({ ...denoiser, shapeOf }, 'diffusers')
  expect(rename('double_blocks.0.img_attn.qkv.weight')).toBeUndefined()
})
