import { FLUX } from './flux.ts'
import { HUNYUAN_VIDEO } from './hunyuan-video.ts'
import { LUMINA_2, Z_IMAGE } from './lumina.ts'
import { QWEN_IMAGE } from './qwen-image.ts'
import { STABLE_DIFFUSION } from './stable-diffusion.ts'
import { STABLE_DIFFUSION_3 } from './stable-diffusion-3.ts'
import type { Denoiser, Encoder, EncoderPlace, Family, Form, Mark, ShapeOf, Tensors } from './types.ts'
import { WAN } from './wan.ts'

/** In the order in which they are looked for: HunyuanVideo has Flux's blocks too. */
export const FAMILIES: readonly Family[] = [
  HUNYUAN_VIDEO,
  FLUX,
  STABLE_DIFFUSION_3,
  WAN,
  QWEN_IMAGE,
  Z_IMAGE,
  LUMINA_2,
  ...STABLE_DIFFUSION,
]

export interface PlacedEncoder extends EncoderPlace {
  readonly encoder: Encoder
}

/** Where a checkpoint of a diffusion model holds what, and under whose names. */
export interface Layout {
  readonly family: Family
  readonly form: Form
  /** Before the denoiser's paths. */
  readonly prefix: string
  /** The pipeline's component that the denoiser is, which diffusers' names begin with. */
  readonly component: string
  readonly encoders: readonly PlacedEncoder[]
  readonly tensors: Tensors
  readonly denoiser: Denoiser
}

/** What a tensor belongs to. VAEs are part of no adapter. */
export type Part =
  | { readonly kind: 'denoiser'; readonly path: string }
  | { readonly kind: 'encoder'; readonly encoder: PlacedEncoder; readonly path: string }
  | { readonly kind: 'vae' | 'other' }

/** A single file's, by comfy/supported_models.py (vae_key_prefix) @2025-10-12, and a pipeline's. */
const VAE = /^(?:first_stage_model|vae)\./
/** A second copy of the weights, averaged over training; and encoders, also those that a family isn't known to have. */
const ASIDE =
  /^(?:model_ema|cond_stage_model|conditioner|text_encoders|text_encoder(?:_[23])?|image_encoder)\./

/** Names before a denoiser's own at most: `model.diffusion_model.` has two. */
const MOST_PARTS = 3

/** The family and layout of a diffusion model's tensors; undefined for any other model, and for families that are not known here. */
export const layoutOf = (tensors: Tensors): Layout | undefined => layoutsOf(tensors)[0]

/** The same, a layout for each of a pipeline's denoisers: Wan 2.2 has two, for much noise and for little. */
export function layoutsOf(tensors: Tensors): readonly Layout[] {
  const prefixes = prefixesOf(tensors.keys())
  for (const family of FAMILIES) {
    for (const mark of family.marks) {
      const fitting = (prefixes.get(mark.tensors[0]) ?? []).filter((prefix) => fits(mark, prefix, tensors))
      if (fitting.length > 0) return fitting.map((prefix) => layoutAt(family, mark.form, prefix, tensors))
    }
  }
  return []
}

const FIRST = new Set(FAMILIES.flatMap(({ marks }) => marks.map(({ tensors }) => tensors[0])))

/** What stands before the tensors that families are known by. */
function prefixesOf(names: Iterable<string>): Map<string, string[]> {
  const prefixes = new Map<string, string[]>()
  for (const name of names) {
    if (VAE.test(name) || ASIDE.test(name)) continue
    for (let at = 0, parts = 0; parts <= MOST_PARTS; parts++) {
      const path = name.slice(at)
      if (FIRST.has(path)) prefixes.set(path, [...(prefixes.get(path) ?? []), name.slice(0, at)])
      const dot = name.indexOf('.', at)
      if (dot < 0) break
      at = dot + 1
    }
  }
  return prefixes
}

const shapesAt =
  (prefix: string, tensors: Tensors): ShapeOf =>
  (path) =>
    tensors.get(prefix + path)?.shape

function fits({ tensors: marks, unless = [], test }: Mark, prefix: string, tensors: Tensors): boolean {
  const has = (path: string) => tensors.has(prefix + path)
  return marks.every(has) && !unless.some(has) && (test === undefined || test(shapesAt(prefix, tensors)))
}

/** A family's layout with this before its denoiser's names. */
export function layoutAt(family: Family, form: Form, prefix: string, tensors: Tensors): Layout {
  const names = [...tensors.keys()]
  const encoders = family.encoderPlaces.flatMap((place): PlacedEncoder[] => {
    const encoder = family.encoders.find(({ id }) => id === place.id)
    const isThere = names.some((name) => name.startsWith(place.prefix))
    return encoder !== undefined && isThere ? [{ ...place, encoder }] : []
  })
  const component = prefix === 'transformer_2.' ? 'transformer_2' : family.component
  const layout = { family, form, prefix, component, encoders, tensors }
  const paths = names.flatMap((name) => {
    const part = partOf(layout, name)
    return part.kind === 'denoiser' ? [part.path] : []
  })
  return { ...layout, denoiser: { form, paths, shapeOf: shapesAt(prefix, tensors) } }
}

/** What a tensor of the layout belongs to, and its path there. */
export function partOf(layout: Omit<Layout, 'denoiser'>, name: string): Part {
  if (VAE.test(name)) return { kind: 'vae' }
  const encoder = layout.encoders.find(({ prefix }) => name.startsWith(prefix))
  if (encoder !== undefined) return { kind: 'encoder', encoder, path: name.slice(encoder.prefix.length) }
  if (ASIDE.test(name) || !name.startsWith(layout.prefix)) return { kind: 'other' }
  return { kind: 'denoiser', path: name.slice(layout.prefix.length) }
}
