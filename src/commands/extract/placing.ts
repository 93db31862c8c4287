import { ADAPTER_CONFIG_FILE } from '../../checkpoint/folder.ts'
import type { Checkpoint } from '../../checkpoint/types.ts'
import type { KeptTensor } from '../../combine/kept.ts'
import { NAMES } from '../../combine/spelling.ts'
import type { FactorsOf } from '../../convert/factors.ts'
import { ggufPlan } from '../../convert/gguf.ts'
import { kohyaMetadata } from '../../convert/metadata.ts'
import { MLX_FILE, mlxConfig, mlxPairs } from '../../convert/mlx.ts'
import { namedPairs } from '../../convert/named.ts'
import { type DraftedPair, largestRank, settledPairs } from '../../convert/pairs.ts'
import type { Change, Dropped, FormatPlan } from '../../convert/target.ts'
import type { FloatDtype } from '../../formats/dtype.ts'
import { type Layout, partOf } from '../../lora/families/layout.ts'
import type { Loader, Naming } from '../../lora/families/types.ts'
import type { AdapterFormat } from '../../lora/model.ts'
import { type ModelTraits, pathOf } from '../../lora/traits.ts'
import type { AdapterLayout } from '../../lora/write/peft.ts'
import type { Destination } from './destination.ts'
import type { PlannedLayer } from './plan.ts'

/** Where each layer goes in an adapter of another format than PEFT's, whatever the ranks. */
export interface Placing {
  /** The layers that have a place. */
  readonly layers: readonly PlannedLayer[]
  /** Why others have none, by the base's tensors. */
  readonly refused: ReadonlyMap<string, string>
  /** The modules of the format that the layers are, or parts of; of GGUF they are made anew for each ranks. */
  readonly drafts: readonly DraftedPair[]
  readonly warnings: readonly string[]
}

/** What decides where a layer goes. */
interface Model {
  readonly base: Checkpoint
  readonly traits: ModelTraits
}

/** The loader that a naming is written for. */
const LOADERS: Readonly<Record<Naming, Loader>> = {
  comfyui: 'ComfyUI',
  kohya: 'kohya',
  diffusers: 'diffusers',
}

const changeOf = ({ module, expert }: PlannedLayer, rank: number): Change => ({
  module: { ...module, label: module.tensor },
  terms: [],
  rank,
  ...(module.kind === 'experts' && { expert }),
})

/** Tells the layer of a change: two of one weight are of two experts. */
export const changeKey = ({ module: { tensor }, expert = 0 }: Change): string => `${expert} ${tensor}`
export const layerKey = ({ module: { tensor }, expert }: PlannedLayer): string => `${expert} ${tensor}`

/**
 * The place of each layer in the destination's names. What the tools of that format have no name for, pass over or refuse has none: it would
 * be written for nothing.
 */
export function placeLayers(
  layers: readonly PlannedLayer[],
  { format, layouts }: Destination,
  model: Model,
): Placing {
  const changes = layers.map((layer) => changeOf(layer, 1))
  const { drafts, refused, warnings } = draftedIn(format, layouts, changes, model)
  const isPlaced = ({ parts }: DraftedPair) => parts.every(({ change }) => !refused.has(change.module.tensor))
  return {
    layers: layers.filter(({ module }) => !refused.has(module.tensor)),
    refused,
    drafts: drafts.filter(isPlaced),
    warnings,
  }
}

/** Modules of a format, and by the base's tensors why some have no place. */
interface Drafted {
  readonly drafts: readonly DraftedPair[]
  readonly refused: ReadonlyMap<string, string>
  readonly warnings: readonly string[]
}

function draftedIn(
  format: AdapterFormat,
  layouts: readonly Layout[],
  changes: readonly Change[],
  { base, traits }: Model,
): Drafted {
  const reasons = (dropped: readonly Dropped[]) => new Map(dropped.map(({ name, reason }) => [name, reason]))
  if (format === 'gguf') {
    const { dropped } = ggufPlan(changes, base, pathIn(traits), 'f32')
    return { drafts: [], refused: reasons(dropped), warnings: [] }
  }
  if (format === 'mlx') {
    const { drafts, dropped } = mlxPairs(changes, pathIn(traits))
    return { drafts, refused: reasons(dropped), warnings: [] }
  }
  const naming = format as Naming
  const all = layouts.map((layout, i) => {
    const isOfLayout = ({ module }: Change) =>
      layouts.findIndex((one) => partOf(one, module.tensor).kind !== 'other') === i ||
      (i === 0 && layouts.every((one) => partOf(one, module.tensor).kind === 'other'))
    return namedPairs(changes.filter(isOfLayout), layout, naming)
  })
  const refused = reasons(all.flatMap(({ dropped }) => dropped))
  for (const { parts, gaps } of all.flatMap(({ drafts }) => drafts)) {
    const gap = gaps.find(({ loader }) => loader === LOADERS[naming])
    if (gap === undefined) continue
    for (const { change } of parts) refused.set(change.module.tensor, gap.reason)
  }
  return {
    drafts: all.flatMap(({ drafts }) => drafts),
    refused,
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

/** What the adapter's files hold at these ranks, one for each layer. `factors` gives those of a change when they are written. */
export function formatPlanAt(
  { layers, drafts, base, traits, destination: { format, layouts }, dtype, wholes }: Placed,
  layout: AdapterLayout,
  ranks: readonly number[],
  factors?: FactorsOf,
): FormatPlan {
  const common = { format, dtype, wholes, dropped: [], warnings: [] }
  if (format === 'gguf') {
    const changes = layers.flatMap((layer, i) => (ranks[i] > 0 ? [changeOf(layer, ranks[i])] : []))
    return { ...ggufPlan(changes, base, pathIn(traits), dtype, factors), ...common }
  }
  const rankOf = new Map(layers.map((layer, i) => [layerKey(layer), ranks[i]]))
  const ranked = drafts.flatMap((draft): DraftedPair[] => {
    const parts = draft.parts.flatMap(({ change, ...part }) => {
      const rank = rankOf.get(changeKey(change)) ?? 0
      return rank > 0 ? [{ ...part, change: { ...change, rank } }] : []
    })
    return parts.length === 0 ? [] : [{ ...draft, parts }]
  })
  const pairs = settledPairs(ranked, format === 'mlx' ? 'portable' : layout)
  const r = largestRank(pairs)
  if (format === 'mlx') {
    const texts = new Map([[ADAPTER_CONFIG_FILE, mlxConfig(ranked, r)]])
    return { ...common, pairs, r, texts, metadata: { format: 'mlx' }, tensorFile: MLX_FILE }
  }
  const metadata =
    format === 'kohya' ? kohyaMetadata(layouts[0], layout === 'portable' ? r : undefined) : { format: 'pt' }
  return { ...common, pairs, r, texts: new Map(), metadata, tensorFile: undefined }
}

/** Entries that a layer's modules gain with each of its ranks. */
export function entriesPerRank({ drafts }: Pick<Placing, 'drafts'>, layer: PlannedLayer): number {
  const key = layerKey(layer)
  const own = drafts.filter(({ parts }) => parts.some(({ change }) => changeKey(change) === key))
  const { module } = layer
  if (own.length === 0) return module.rows + module.columns
  return own.reduce((sum, { rows, columns }) => sum + rows + columns, 0)
}

/** What a format has no place for, in words. */
export const noWhole = (format: AdapterFormat) => `${NAMES[format]} has no place for a whole tensor`
