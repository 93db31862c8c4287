import { incompleteBlocks } from '../lora/families/complete.ts'
import type { Layout } from '../lora/families/layout.ts'
import { partOf } from '../lora/families/layout.ts'
import { type ModuleName, moduleNames, type Namer } from '../lora/families/modules.ts'
import type { Naming } from '../lora/families/types.ts'
import { counted } from '../text/quote.ts'
import type { DraftedPair } from './pairs.ts'
import type { Change, Dropped, Part } from './target.ts'

/** The pairs of a naming of diffusion models, and what it has no names for. */
export interface NamedPairs {
  readonly drafts: readonly DraftedPair[]
  readonly dropped: readonly Dropped[]
  readonly warnings: readonly string[]
}

/** A module of the naming, and the changes of the base's tensors that are its. */
interface Named {
  readonly name: ModuleName
  readonly parts: Part[]
}

/**
 * What kohya, ComfyUI or diffusers call the modules of a diffusion model whose layout is known: one pair for each, be it a part of a fused
 * weight of the base, or fused from several of its weights.
 */
export function namedPairs(changes: readonly Change[], layout: Layout, format: Naming): NamedPairs {
  const naming = namingOf(layout, format)
  const namer = namerFor(layout, format)
  const modules = new Map<string, Named>()
  const dropped: Dropped[] = []
  for (const change of changes) {
    const { label, tensor } = change.module
    const names = change.expert === undefined ? namer(tensor) : []
    if (names === undefined || names.length === 0) {
      dropped.push({ name: label, reason: missing(layout, tensor, format, names, change) })
      continue
    }
    for (const name of names) {
      const known = modules.get(name.name) ?? { name, parts: [] }
      known.parts.push({ change, fit: fitOf(name) })
      modules.set(name.name, known)
    }
  }
  const heights = heightsOf(layout, namer)
  const drafts = [...modules.values()].map(({ name, parts }) => drafted(name, parts, heights))
  return { drafts, dropped, warnings: incomplete(drafts, layout, naming) }
}

/** ComfyUI reads several namings: its files have the one that most other loaders of the family take too. */
const namingOf = ({ family }: Layout, format: Naming): Naming =>
  format === 'comfyui' ? family.portable : format

/** What the format calls the modules of a tensor. Of text encoders ComfyUI knows kohya's names and its own, not diffusers'. */
function namerFor(layout: Layout, format: Naming): Namer {
  const own = moduleNames(layout, namingOf(layout, format))
  if (format !== 'comfyui' || layout.family.portable !== 'diffusers') return own
  const [kohya, comfyui] = [moduleNames(layout, 'kohya'), moduleNames(layout, 'comfyui')]
  return (tensor) => {
    if (partOf(layout, tensor).kind !== 'encoder') return own(tensor)
    const names = kohya(tensor)
    return names === undefined || names.length === 0 ? comfyui(tensor) : names
  }
}

const fitOf = ({ rows, moduleRows, swapHalves, isTransposed }: ModuleName) => ({
  ...(rows !== undefined && { rows }),
  ...(moduleRows !== undefined && { moduleRows }),
  ...(swapHalves && { swapHalves }),
  ...(isTransposed && { isTransposed }),
})

function missing(
  layout: Layout,
  tensor: string,
  naming: Naming,
  names: readonly ModuleName[] | undefined,
  { expert }: Change,
): string {
  if (expert !== undefined) return `is of a stack of experts, for which names of ${naming} have no place`
  const part = partOf(layout, tensor)
  if (part.kind === 'vae') return 'is of the VAE, which no adapter changes'
  if (names === undefined) return `is no tensor of ${layout.family.name} whose name is known`
  return `has no place in names of ${naming}`
}

/** Rows of the modules that are fused of several weights of the base, whether or not an adapter changes them all. */
function heightsOf(layout: Layout, namer: Namer): (module: string) => number {
  let heights: Map<string, number> | undefined
  return (module) => {
    if (heights === undefined) {
      heights = new Map()
      for (const tensor of layout.tensors.keys()) {
        for (const { name, moduleRows } of namer(tensor) ?? []) {
          if (moduleRows !== undefined) heights.set(name, Math.max(heights.get(name) ?? 0, moduleRows[1]))
        }
      }
    }
    return heights.get(module)!
  }
}

function drafted(name: ModuleName, parts: readonly Part[], heights: (module: string) => number): DraftedPair {
  const [{ change, fit }] = parts
  const { rows, columns, shape, kind } = change.module
  const own = fit.rows === undefined ? rows : fit.rows[1] - fit.rows[0]
  const [height, width] = fit.isTransposed ? [columns, own] : [own, columns]
  return {
    module: name.name,
    names: {
      A: name.name + name.down,
      B: name.name + name.up,
      ...(name.hasAlpha && { alpha: `${name.name}.alpha` }),
    },
    parts,
    rows: fit.moduleRows === undefined ? height : heights(name.name),
    columns: width,
    kernel: kind === 'convolution' ? shape.slice(2) : [],
    isTransposed: false,
    orientation: 'plain',
    gaps: name.gaps,
  }
}

/** Loaders that refuse the file because blocks lack modules. */
function incomplete(drafts: readonly DraftedPair[], layout: Layout, naming: Naming): string[] {
  const prefix = naming === 'kohya' ? 'lora_unet_' : naming === 'comfyui' ? 'diffusion_model.' : ''
  const paths = drafts.flatMap(({ module }) =>
    module.startsWith(prefix) ? [module.slice(prefix.length)] : [],
  )
  const dotted = naming === 'kohya' ? dottedPaths(layout, paths) : paths
  return incompleteBlocks(layout.family, naming, dotted).map(
    ({ rule, missing }) =>
      `${rule.loader} refuses the file: ${counted(missing.length, 'module')} of its blocks (${missing[0]}${missing.length > 1 ? ', …' : ''}) would have to be there too (${rule.source})`,
  )
}

/** The paths of kohya's names: those of the naming's form with underscores for dots. */
function dottedPaths(layout: Layout, flat: readonly string[]): string[] {
  const { form } = layout.family.targets.kohya
  const rename = layout.family.rename(layout.denoiser, form)
  const wanted = new Set(flat)
  const found = new Set<string>()
  for (const path of layout.denoiser.paths) {
    for (const link of rename(path) ?? []) {
      const module = link.path.replace(/\.weight$/, '')
      if (wanted.has(module.replaceAll('.', '_'))) found.add(module)
    }
  }
  return [...found]
}
