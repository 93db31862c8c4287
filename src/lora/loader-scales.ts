import { counted } from '../text/quote.ts'
import { NO_NAMES, OTHER_FORMAT, OTHER_TASK } from './loaders/common.ts'
import { isSameScale, refusalOf, scaleIn, scaleText } from './loaders/judge.ts'
import { loadersMeant } from './loaders/meant.ts'
import type { JudgedAdapter, Loader, ModuleView } from './loaders/types.ts'
import { judged, viewOf } from './loaders/view.ts'
import { type Adapter, type AdapterModule, labelInFile } from './model.ts'

/** The loaders whose scales are set beside each other, in this order. */
export const SCALED_LOADERS = [
  'PEFT',
  'vLLM',
  'SGLang',
  'llama.cpp',
  'TensorRT-LLM',
  'ComfyUI',
] as const satisfies readonly Loader[]

/** The scale by which a loader multiplies B·A, or why it does not load the adapter. */
export interface LoaderScale {
  readonly loader: Loader
  readonly scale?: number
  readonly refusal?: string
}

/** An adapter as loaders see it, with its modules by their labels. */
interface Known {
  readonly adapter: JudgedAdapter
  readonly byLabel: ReadonlyMap<string, ModuleView>
}

/** What is the same for all modules is found once. */
const known = new WeakMap<Adapter, Known>()

function knownOf(adapter: Adapter): Known {
  const before = known.get(adapter)
  if (before !== undefined) return before
  const view = judged(viewOf(adapter))
  const found = { adapter: view, byLabel: new Map(view.modules.map((module) => [module.label, module])) }
  known.set(adapter, found)
  return found
}

/**
 * The scale by which each loader multiplies B·A of a module, or why it doesn't load it: one entry a loader, always in
 * the same order.
 */
export function loaderScales(adapter: Adapter, module: AdapterModule): LoaderScale[] {
  const { adapter: view, byLabel } = knownOf(adapter)
  return scalesIn(view, byLabel.get(labelInFile(module))!)
}

const scalesIn = (adapter: JudgedAdapter, module: ModuleView): LoaderScale[] =>
  SCALED_LOADERS.map((loader) => {
    const refusal = refusalOf(adapter, loader, module)
    return refusal === undefined ? { loader, scale: scaleIn(adapter, loader, module) } : { loader, refusal }
  })

/** Modules that a loader multiplies by another scale than the adapter's own format does. */
export interface ScaleDisagreement {
  readonly loader: Loader
  /** Labels. */
  readonly modules: readonly string[]
  readonly scale: number
  /** As the adapter's own format says. */
  readonly expected: number
}

/** Disagreements grouped by loader and by the pair of scales, in the loaders' order. */
export function scaleDisagreements(adapter: Adapter): ScaleDisagreement[] {
  const { adapter: view } = knownOf(adapter)
  const groups = new Map<string, ScaleDisagreement & { modules: string[] }>()
  for (const module of view.modules) {
    for (const { loader, scale } of scalesIn(view, module)) {
      const expected = module.scale
      if (scale === undefined || isSameScale(scale, expected)) continue
      const key = JSON.stringify([loader, scale, expected])
      const group = groups.get(key) ?? { loader, modules: [], scale, expected }
      group.modules.push(module.label)
      groups.set(key, group)
    }
  }
  return [...groups.values()].sort((a, b) => orderOf(a) - orderOf(b))
}

const orderOf = ({ loader }: ScaleDisagreement) => (SCALED_LOADERS as readonly Loader[]).indexOf(loader)

/** One line a loader that scales modules otherwise, and one a loader that refuses them. */
export function loaderWarnings(adapter: Adapter): string[] {
  const total = adapter.modules.length
  const own = adapter.format === 'peft' && adapter.config !== undefined ? 'PEFT' : 'the file'
  const disagreements = scaleDisagreements(adapter)
  const scaled = SCALED_LOADERS.flatMap((loader) => {
    const groups = disagreements.filter((group) => group.loader === loader)
    if (groups.length === 0) return []
    const count = groups.reduce((sum, { modules }) => sum + modules.length, 0)
    const { modules, scale, expected } = groups[0]
    const by = `by ${scaleText(scale)} where ${own} scales`
    return groups.length === 1
      ? [
          `${loader} scales ${count} of ${counted(total, 'module')} ${by} ${count === 1 ? 'it' : 'them'} by ${scaleText(expected)}`,
        ]
      : [
          `${loader} scales ${count} of ${counted(total, 'module')} otherwise than ${own}, such as ${modules[0]} ${by} it by ${scaleText(expected)}`,
        ]
  })
  return [...scaled, ...refusalWarnings(adapter)]
}

function refusalWarnings(adapter: Adapter): string[] {
  const { adapter: view } = knownOf(adapter)
  const meant = loadersMeant(view)
  const first = new Map<Loader, string>()
  for (const module of view.modules) {
    for (const { loader, refusal } of scalesIn(view, module)) {
      // what was made for one loader is not to blame for not being another's
      if (refusal === undefined || refusal === OTHER_FORMAT || refusal === OTHER_TASK) continue
      if (refusal.startsWith(NO_NAMES) && !meant.includes(loader)) continue
      if (!first.has(loader)) first.set(loader, refusal)
    }
  }
  return [...first].map(([loader, refusal]) => `${loader} does not load this adapter: ${refusal}`)
}
