import { type Summand, underUnits } from '../combine/modules.ts'
import type { Units } from '../combine/units.ts'
import { incompleteBlocks } from '../lora/families/complete.ts'
import { type Layout, partOf } from '../lora/families/layout.ts'
import { type ModuleName, moduleNames, type Namer } from '../lora/families/modules.ts'
import { placesOf } from '../lora/families/places.ts'
import type { Naming } from '../lora/families/types.ts'
import { rowsWanted, runsOf } from '../lora/fit.ts'
import { counted } from '../text/quote.ts'
import { changesOf, type DraftedPair } from './pairs.ts'
import type { Change, Dropped } from './target.ts'

/** The pairs of a naming of diffusion models, and what it has no names for. */
export interface NamedPairs {
  readonly drafts: readonly DraftedPair[]
  readonly dropped: readonly Dropped[]
  readonly warnings: readonly string[]
}

/**
 * What kohya, ComfyUI or diffusers call the modules of a diffusion model whose layout is known: one pair for each, be it a part of a fused
 * weight of the base, or fused from several of its weights. `source` is an adapter that has been matched to the base.
 */
export function namedPairs(source: Summand, layout: Layout, format: Naming): NamedPairs {
  const naming = namingOf(layout, format)
  const namer = namerFor(layout, format)
  const names = new Map<string, ModuleName>()
  const { modules } = underUnits([source], unitsBy(namer, layout, names))
  const drafts: DraftedPair[] = []
  const dropped: Dropped[] = []
  for (const change of changesOf(modules)) {
    const { label, tensor } = change.module
    const name = names.get(label)
    if (name !== undefined && change.expert === undefined) drafts.push(drafted(name, change))
    else dropped.push({ name: label, reason: missing(layout, tensor, format, namer(tensor), change) })
  }
  return { drafts, dropped, warnings: incomplete(drafts, layout, naming) }
}

/** The modules of a naming that a weight is of; `names` gets all of them by their names. */
function unitsBy(namer: Namer, layout: Layout, names: Map<string, ModuleName>): Units {
  const find = placesOf(layout)
  return (tensor) => {
    const { shape } = layout.tensors.get(tensor)!
    return (namer(tensor) ?? []).map((module) => {
      const { name } = module
      names.set(name, module)
      const isTurned = module.isTransposed === true
      const rows = isTurned ? shape[1] : rowsWanted(find(name), shape[0])
      const fit = isTurned ? undefined : runsOf(module, [rows, shape[0]])
      return { prefix: '', path: name, label: name, rows, isTurned, fit }
    })
  }
}

/** ComfyUI reads several namings: its files have the one that most other loaders of the family take too. */
const namingOf = ({ family }: Layout, format: Naming): Naming =>
  format === 'comfyui' ? family.portable : format

/**
 * What the format calls the modules of a tensor. In a file for ComfyUI text encoders have names that it reads: kohya's, where the encoder has
 * some, else its own.
 */
function namerFor(layout: Layout, format: Naming): Namer {
  const own = moduleNames(layout, namingOf(layout, format))
  if (format !== 'comfyui') return own
  const [kohya, comfyui] = [moduleNames(layout, 'kohya'), moduleNames(layout, 'comfyui')]
  return (tensor) => {
    if (partOf(layout, tensor).kind !== 'encoder') return own(tensor)
    const names = kohya(tensor)
    return names === undefined || names.length === 0 ? comfyui(tensor) : names
  }
}

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

function drafted(name: ModuleName, change: Change): DraftedPair {
  const { rows, columns } = change.module
  return {
    module: name.name,
    names: {
      A: name.name + name.down,
      B: name.name + name.up,
      ...(name.hasAlpha && { alpha: `${name.name}.alpha` }),
    },
    ...{ changes: [change], rows, columns },
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
