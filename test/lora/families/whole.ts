import { type Layout, layoutOf } from '../../../src/lora/families/layout.ts'
import type { Form, Tensors } from '../../../src/lora/families/types.ts'
import { flux, hunyuanVideo, prefixed, qwenImage, sd3, wan } from './hollow.ts'
import { clip, llm, openclip, t5 } from './hollow-encoders.ts'
import { lumina2, zImage } from './hollow-lumina.ts'
import { sd1, sd2, sdxl } from './hollow-unet.ts'

/** The goldens' names of whole models, and the models. */
export const WHOLE: Readonly<Record<string, () => Tensors>> = {
  'flux1-dev': flux,
  'sd3-medium': sd3,
  'wan2.1-t2v-1.3B': wan,
  'wan2.1-i2v-14B': () => wan({ dim: 5120, ffn: 13824, depth: 40, channels: 36, image: 1280 }),
  hunyuanvideo: hunyuanVideo,
  'qwen-image': qwenImage,
  lumina2,
  'SD 1.x': sd1,
  SDXL: sdxl,
}

/** A model of each family with few blocks and narrow layers. */
export const SMALL: Readonly<Record<string, () => Tensors>> = {
  flux: () => flux({ hidden: 12, head: 4, double: 2, single: 2 }),
  sd3: () => sd3({ hidden: 12, depth: 3, positions: 2 }),
  wan: () => wan({ dim: 12, ffn: 20, depth: 2, image: 10 }),
  'hunyuan-video': () => hunyuanVideo({ hidden: 12, head: 4, double: 2, single: 2 }),
  'qwen-image': () => qwenImage({ dim: 12, head: 4, depth: 2, text: 10 }),
  lumina2: () => lumina2({ dim: 12, kv: 4, head: 4, ffn: 20, depth: 2, time: 6 }),
  'z-image': () => zImage({ dim: 12, head: 4, ffn: 20, depth: 2, time: 6 }),
  sd1: () => sd1({ model: 4, context: 6 }),
  sd2: () => sd2({ model: 4, context: 6 }),
  sdxl: () => sdxl({ model: 4, context: 6, labels: 10 }),
}

export function layoutOfAll(tensors: Tensors): Layout {
  const layout = layoutOf(tensors)
  if (layout === undefined) throw new Error('of no family')
  return layout
}

/** The denoiser in another form, without its prefix. */
export function inForm({ family, denoiser }: Layout, to: Form): Tensors {
  const rename = family.rename(denoiser, to)
  const other = new Map<string, { shape: readonly number[] }>()
  for (const path of denoiser.paths) {
    const shape = denoiser.shapeOf(path)!
    for (const { path: name, rows } of rename(path)!) {
      other.set(name, { shape: rows === undefined ? shape : [rows[1] - rows[0], ...shape.slice(1)] })
    }
  }
  return other
}

/** The text encoders of single files, by what stands before their names. */
export const ENCODERS: Readonly<Record<string, Readonly<Record<string, Tensors>>>> = {
  sd1: { 'cond_stage_model.transformer.': clip() },
  sd2: { 'cond_stage_model.model.': openclip() },
  sdxl: {
    'conditioner.embedders.0.transformer.': clip(),
    'conditioner.embedders.1.model.': openclip(),
  },
  sd3: {
    'text_encoders.clip_l.transformer.': clip({ projection: 4 }),
    'text_encoders.clip_g.transformer.': clip({ projection: 4 }),
    'text_encoders.t5xxl.transformer.': t5(),
  },
  flux: { 'text_encoders.clip_l.transformer.': clip(), 'text_encoders.t5xxl.transformer.': t5() },
  wan: { 'text_encoders.umt5xxl.transformer.': t5() },
  'hunyuan-video': {
    'text_encoders.llama.transformer.': llm(),
    'text_encoders.clip_l.transformer.': clip(),
  },
  'qwen-image': { 'text_encoders.qwen25_7b.transformer.': llm() },
  lumina2: { 'text_encoders.gemma2_2b.transformer.': llm() },
  'z-image': { 'text_encoders.qwen3_4b.transformer.': llm() },
}

/** A single file: a denoiser, and text encoders by what stands before their names. */
export const file = (denoiser: Tensors, encoders: Readonly<Record<string, Tensors>> = {}): Tensors =>
  new Map([
    ...prefixed('model.diffusion_model.', denoiser),
    ...Object.entries(encoders).flatMap(([prefix, base]) => [...prefixed(prefix, base)]),
  ])

/** A single file of a family, in one of its forms. */
export const singleFile = (id: string, form: Form = layoutOfAll(SMALL[id]()).form): Tensors =>
  file(inForm(layoutOfAll(SMALL[id]()), form), ENCODERS[id])
