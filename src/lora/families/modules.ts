import { type Layout, type PlacedEncoder, partOf } from './layout.ts'
import { encoderGaps } from './text-encoder-gaps.ts'
import { encoderModule, transformersPaths } from './text-encoders.ts'
import type { Family, Fit, Form, Gap, Link, Naming, Rename, Target } from './types.ts'

/** What an adapter calls the module, or one of the modules, that changes a tensor of the base. */
export interface ModuleName extends Fit {
  /** Before `.lora_down.weight`, `.alpha`, `.diff` and the like. */
  readonly name: string
  /** The endings of its factors' names. */
  readonly down: Target['down']
  readonly up: Target['up']
  /** Whether the naming's readers want an alpha beside them. */
  readonly hasAlpha: boolean
  /** What loaders don't do right with it. */
  readonly gaps: readonly Gap[]
}

/**
 * The modules that change a base's tensor, by the tensor's name: of a bias or another parameter those that its difference goes with.
 * None where the naming has no place for it, undefined where no rule knows the tensor, or it is of the VAE.
 */
export type Namer = (tensor: string) => readonly ModuleName[] | undefined

/** Names of the modules of a layout's tensors. */
export function moduleNames(layout: Layout, naming: Naming): Namer {
  const { family } = layout
  const { form: to, down, up, alpha } = family.targets[naming]
  const rename = family.rename(layout.denoiser, to)
  const renameEncoder = encoderRenames(layout)
  return (tensor) => {
    const part = partOf(layout, tensor)
    if (part.kind === 'denoiser') {
      return rename(part.path)?.map((link) =>
        denoiserModule(layout, naming, link, fitOf(link, layout.form, to)),
      )
    }
    if (part.kind !== 'encoder') return undefined
    const { encoder } = part.encoder
    return renameEncoder(part.encoder)(part.path)?.flatMap((link): ModuleName[] => {
      const path = withoutEnd(link.path)
      const name = encoderModule(encoder, naming, path)
      if (name === undefined) return []
      const gaps = encoderGaps(family, encoder, naming, path)
      return [{ name, ...fitOf(link), down, up, hasAlpha: alpha !== false, gaps }]
    })
  }
}

const withoutEnd = (path: string) => path.replace(/\.(?:weight|bias)$/, '')

/** Rows are the fused one's: the module's where the base is diffusers' and the module isn't, else the tensor's. */
export function fitOf({ rows, swapHalves, isTransposed }: Link, from?: Form, to?: Form): Fit {
  const isFusedModule = from === 'diffusers' && to !== from
  return {
    ...(rows !== undefined && (isFusedModule ? { moduleRows: rows } : { rows })),
    ...(swapHalves && { swapHalves }),
    ...(isTransposed && { isTransposed }),
  }
}

/** What each encoder's paths are called by transformers. */
export function encoderRenames({ encoders, tensors }: Layout): (encoder: PlacedEncoder) => Rename {
  const renames = new Map(
    encoders.map((one) => [
      one.prefix,
      transformersPaths(one, (path) => tensors.get(one.prefix + path)?.shape),
    ]),
  )
  return ({ prefix }) => renames.get(prefix)!
}

function denoiserModule({ family, component }: Layout, naming: Naming, link: Link, fit: Fit): ModuleName {
  const { down, up, alpha, rewrite = [] } = family.targets[naming]
  const path = rewritten(withoutEnd(link.path), rewrite)
  return {
    name: denoiserName(component, naming, path),
    ...fit,
    down,
    up,
    hasAlpha: typeof alpha === 'boolean' ? alpha : alpha.test(path),
    gaps: gapsOf(family, naming, path, down),
  }
}

/** ComfyUI looks for the parts with their dots. */
export const rewritten = (path: string, rewrite: NonNullable<Target['rewrite']>) =>
  rewrite.reduce((text, [from, to]) => text.replaceAll(from, to), `${path}.`).slice(0, -1)

/** What a naming calls the denoiser's module at a path of the naming's form. */
export function denoiserName(component: string, naming: Naming, path: string): string {
  switch (naming) {
    case 'kohya':
      return `lora_unet_${path.replaceAll('.', '_')}`
    case 'comfyui':
      return `diffusion_model.${path}`
    case 'diffusers':
      return `${component}.${path}`
  }
}

/** What the family's loaders don't do right with the denoiser's module at a path of the naming's form, in this spelling. */
export function gapsOf(family: Family, naming: Naming, path: string, down: Target['down']): Gap[] {
  const gaps = family.gaps.filter(
    (gap) =>
      gap.naming === naming &&
      (gap.paths === undefined || gap.paths.test(path)) &&
      (gap.down === undefined || gap.down === down),
  )
  if (naming === 'kohya' || !family.loaders.includes('kohya')) return gaps
  return [...gaps, NOT_KOHYA[naming]]
}

const notKohya = (naming: Naming): Gap => ({
  loader: 'kohya',
  naming,
  effect: 'dropped',
  reason: 'kohya reads lora_unet and lora_te names alone',
  source: 'sd-scripts: networks/lora.py @2026-02-16',
})
const NOT_KOHYA = { comfyui: notKohya('comfyui'), diffusers: notKohya('diffusers') }
