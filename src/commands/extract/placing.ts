import { ADAPTER_CONFIG_FILE } from '../../checkpoint/folder.ts'
import type { Checkpoint } from '../../checkpoint/types.ts'
import type { KeptTensor } from '../../combine/kept.ts'
import type { Summand } from '../../combine/modules.ts'
import { NAMES } from '../../combine/spelling.ts'
import { ggufPlan } from '../../convert/gguf.ts'
import { kohyaMetadata } from '../../convert/metadata.ts'
import { MLX_FILE, mlxConfig, mlxPairs } from '../../convert/mlx.ts'
import { namedPairs } from '../../convert/named.ts'
import { changesOf, type DraftedPair, largestRank, settledPairs } from '../../convert/pairs.ts'
import type { Change, Dropped, FormatPlan } from '../../convert/target.ts'
import type { FloatDtype } from '../../formats/dtype.ts'
import { type Layout, partOf } from '../../lora/families/layout.ts'
import type { Loader, Naming } from '../../lora/families/types.ts'
import type { AdapterFormat } from '../../lora/model.ts'
import { type ModelTraits, pathOf } from '../../lora/traits.ts'
import type { AdapterLayout } from '../../lora/write/peft.ts'
import type { Destination } from './destination.ts'
import { rankedModules, sharedModules, underOwnNames } from './own-names.ts'
import type { PlannedLayer } from './plan.ts'

/** Where each layer goes in an adapter of another format than PEFT's, whatever the ranks. */
export interface Placing {
  /** The layers that have a place. */
  readonly layers: readonly PlannedLayer[]
  /** Why others have none, by the base's tensors. */
  readonly refused: ReadonlyMap<string, string>
  /** The modules of the format that the layers are, or parts of, as they are at rank 1; none of GGUF. */
  readonly drafts: readonly DraftedPair[]
  readonly warnings: readonly string[]
}

/** What decides where a layer goes. */
interface Model {
  readonly base: Checkpoint
  readonly traits: ModelTraits
}

/** The loader that files of a naming are for. */
const LOADERS: Readonly<Record<Naming, Loader>> = {
  comfyui: 'ComfyUI',
  kohya: 'kohya',
  diffusers: 'diffusers',
}

/** Whose factors a module of the format holds, by the base's tensors. */
export const weightsOf = ({ terms }: Change): string[] => [
  ...new Set(terms.map(({ module }) => module.tensor)),
]

/**
 * The place of each layer in the destination's names. What the tools of that format have no name for, pass over or refuse has none: it would
 * be written for nothing.
 */
export function placeLayers(
  layers: readonly PlannedLayer[],
  { format, layouts }: Destination,
  model: Model,
): Placing {
  const source = underOwnNames(
    rankedModules(
      layers,
      layers.map(() => 1),
    ),
    model.base,
  )
  const { drafts, dropped, warnings } = draftedIn(format, layouts, source, model)
  const tensors = new Map(layers.map(({ module }) => [module.path, module.tensor]))
  const refused = new Map(dropped.map(({ name, reason }) => [tensors.get(name) ?? name, reason]))
  for (const { changes, gaps } of drafts) {
    const gap = gaps.find(({ loader }) => loader === LOADERS[format as Naming])
    if (gap !== undefined) for (const tensor of changes.flatMap(weightsOf)) refused.set(tensor, gap.reason)
  }
  const isRefused = (change: Change) => weightsOf(change).some((tensor) => refused.has(tensor))
  return {
    layers: layers.filter(({ module }) => !refused.has(module.tensor)),
    refused,
    drafts: withChanges(drafts, (change) => (isRefused(change) ? undefined : change)),
    warnings,
  }
}

interface Drafted {
  readonly drafts: readonly DraftedPair[]
  readonly dropped: readonly Dropped[]
  readonly warnings: readonly string[]
}

function draftedIn(
  format: AdapterFormat,
  layouts: readonly Layout[],
  source: Summand,
  { base, traits }: Model,
): Drafted {
  if (format === 'gguf' || format === 'mlx') {
    const changes = changesOf(sharedModules(source))
    const { drafts, dropped } =
      format === 'mlx'
        ? mlxPairs(changes, pathIn(traits), base)
        : { drafts: [], ...ggufPlan(changes, base, pathIn(traits), 'f32') }
    return { drafts, dropped, warnings: [] }
  }
  const all = layouts.map((layout, i) => {
    const isIn = (one: Layout, tensor: string) => partOf(one, tensor).kind !== 'other'
    // what is in none of them is told by the first
    const place = (tensor: string) =>
      Math.max(
        0,
        layouts.findIndex((one) => isIn(one, tensor)),
      )
    const modules = source.adapter.modules.filter(({ tensor }) => place(tensor) === i)
    return namedPairs({ ...source, adapter: { ...source.adapter, modules } }, layout, format as Naming)
  })
  return {
    drafts: all.flatMap(({ drafts }) => drafts),
    dropped: all.flatMap(({ dropped }) => dropped),
    warnings: all.flatMap(({ warnings }) => warnings),
  }
}

const pathIn =
  (traits: ModelTraits) =>
  ({ module: { tensor } }: Change) =>
    pathOf(tensor.replace(/\.weight$/, ''), traits)

/** An adapter's plan as far as its names go. */
export interface Placed extends Pick<Placing, 'layers' | 'drafts'>, Model {
  readonly destination: Destination
  readonly dtype: FloatDtype
  /** Tensors that are no factors. */
  readonly wholes: readonly KeptTensor[]
}

/** The pairs with their changes made others, those without any left out. */
const withChanges = (
  drafts: readonly DraftedPair[],
  made: (change: Change) => Change | undefined,
): DraftedPair[] =>
  drafts.flatMap(({ changes, members, ...draft }): DraftedPair[] => {
    const all = changes.map(made)
    const numbers = members?.numbers.filter((_, i) => all[i] !== undefined)
    const left = all.filter((change) => change !== undefined)
    if (left.length === 0) return []
    return [{ ...draft, changes: left, ...(members && { members: { ...members, numbers: numbers! } }) }]
  })

/** What the adapter's files hold at these ranks, one for each layer: names, shapes and sizes. */
export function formatPlanAt(placed: Placed, layout: AdapterLayout, ranks: readonly number[]): FormatPlan {
  const { layers, base, destination } = placed
  if (destination.format === 'gguf') {
    return ggufPlanOf(placed, underOwnNames(rankedModules(layers, ranks), base))
  }
  const rankOf = new Map(rankedModules(layers, ranks).map(({ module, rank }) => [module.tensor, rank]))
  const ranked = withChanges(placed.drafts, (change) => {
    const terms = change.terms.filter(({ module }) => rankOf.has(module.tensor))
    const rank = terms.reduce((sum, { module }) => sum + rankOf.get(module.tensor)!, 0)
    return terms.length === 0 ? undefined : { ...change, terms, rank }
  })
  return planOfPairs(placed, ranked, layout)
}

/** The same with the factors in it, that lie in a file of their own until then. */
export function formatPlanOf(
  placed: Placed,
  layout: AdapterLayout,
  ranks: readonly number[],
  factors: Checkpoint,
): FormatPlan {
  const { layers, base, destination } = placed
  const source = underOwnNames(rankedModules(layers, ranks), base, factors)
  if (destination.format === 'gguf') return ggufPlanOf(placed, source)
  const { drafts } = draftedIn(destination.format, destination.layouts, source, placed)
  return planOfPairs(placed, drafts, layout)
}

const ggufPlanOf = ({ base, traits, dtype, wholes }: Placed, source: Summand): FormatPlan => ({
  ...ggufPlan(changesOf(sharedModules(source)), base, pathIn(traits), dtype),
  ...{ format: 'gguf', dtype, wholes, differences: [], dropped: [], warnings: [] },
})

function planOfPairs(
  { destination: { format, layouts }, dtype, wholes }: Placed,
  drafts: readonly DraftedPair[],
  layout: AdapterLayout,
): FormatPlan {
  const common = { format, dtype, wholes, differences: [], dropped: [], warnings: [] }
  const pairs = settledPairs(drafts, format === 'mlx' ? 'portable' : layout)
  const r = largestRank(pairs)
  if (format === 'mlx') {
    const texts = new Map([[ADAPTER_CONFIG_FILE, mlxConfig(drafts, r)]])
    return { ...common, pairs, r, texts, metadata: { format: 'mlx' }, tensorFile: MLX_FILE }
  }
  const metadata =
    format === 'kohya' ? kohyaMetadata(layouts[0], layout === 'portable' ? r : undefined) : { format: 'pt' }
  return { ...common, pairs, r, texts: new Map(), metadata, tensorFile: undefined }
}

/** Entries that the modules of a layer gain with each of its ranks. */
export function entriesPerRank(drafts: readonly DraftedPair[], { module }: PlannedLayer): number {
  const own = drafts.filter(({ changes }) => changes.flatMap(weightsOf).includes(module.tensor))
  if (own.length === 0) return module.rows + module.columns
  return own.reduce((sum, { rows, columns }) => sum + rows + columns, 0)
}

/** What a format has no place for, in words. */
export const noWhole = (format: AdapterFormat) => `${NAMES[format]} has no place for a whole tensor`
