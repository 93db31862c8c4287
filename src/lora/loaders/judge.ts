import { FACTS } from './table.ts'
import type { AdapterView, Fact, JudgedAdapter, Loader, ModuleView } from './types.ts'
import { judged } from './view.ts'

/** A fact that holds of an adapter. */
export interface Hit {
  /** Without a source where nothing is known of it in the loader's own. */
  readonly fact: Omit<Fact, 'source' | 'date'> & Partial<Pick<Fact, 'source' | 'date'>>
  /** Why, as half a sentence of the loader: `it refuses DoRA`. Of several modules that of the first. */
  readonly reason: string
  /** Labels of the modules that it is of; all where neither modules nor tensors are told. */
  readonly modules?: readonly string[]
  /** Tensors that are of no module: whole ones, and factors of which no module could be made. */
  readonly tensors?: readonly string[]
  /** What the first module is multiplied by, and what the adapter's own format says. */
  readonly scale?: { readonly found: number; readonly expected: number }
}

/** What comes of an adapter in a loader. `loads part`: some of its modules or whole tensors have no effect. */
export type Verdict = 'loads' | 'wrong scale' | 'wrong numbers' | 'loads part' | 'loads nothing' | 'refuses'

export interface LoaderVerdict {
  readonly loader: Loader
  readonly verdict: Verdict
  readonly hits: readonly Hit[]
  /** Modules that have an effect, whatever it is. */
  readonly loaded: number
}

/** Scales closer than this are the same: an .alpha tensor in bf16 is off by up to 2⁻⁹. */
const SCALE_TOLERANCE = 2 ** -8
export const isSameScale = (a: number, b: number) =>
  Math.abs(a - b) <= SCALE_TOLERANCE * Math.max(Math.abs(a), Math.abs(b))

/**
 * What each of these loaders makes of an adapter, in their order. `alsoOf` tells what else is known of the file that concerns a loader: it
 * counts as the loader's own facts do, but where the loader takes nothing of the adapter anyway.
 */
export function verdictsOf(
  view: AdapterView,
  loaders: readonly Loader[],
  alsoOf: (loader: Loader) => readonly Hit[] = () => [],
): LoaderVerdict[] {
  const adapter = judged(view)
  return loaders.map((loader) => {
    const own = hitsOf(adapter, loader)
    const isLostAnyway = own.some(isLost) && NOTHING.has(verdictOf(own, adapter).verdict)
    const hits = isLostAnyway ? own : [...own, ...alsoOf(loader)]
    return { loader, hits, ...verdictOf(hits, adapter) }
  })
}

const NOTHING: ReadonlySet<Verdict> = new Set(['refuses', 'loads nothing'])

/** The facts of a loader that hold of an adapter, in the table's order. */
export function hitsOf(adapter: JudgedAdapter, loader: Loader): Hit[] {
  const hits: Hit[] = []
  const lost = new Set<string>()
  const reasons = adapterReasons(adapter, loader)
  for (const [at, rule] of FACTS[loader].rules.entries()) {
    const { ofAdapter, ofModule, ofWhole, isFinal, ...fact } = rule
    const reason = reasons[at]
    if (reason !== undefined) {
      hits.push({ fact, reason })
      if (isFinal === true) return hits
      continue
    }
    if (ofModule !== undefined) {
      const found = reasonsIn(adapter.modules, (module) =>
        lost.has(module.label) ? undefined : ofModule(module, adapter),
      )
      if (found !== undefined) {
        const modules = found.of.map(({ label }) => label)
        hits.push({ fact, reason: found.reason, modules })
        // what a loader passes over it does nothing else with
        if (fact.effect === 'passes over') for (const label of modules) lost.add(label)
      }
    }
    if (ofWhole !== undefined) {
      const found = reasonsIn(adapter.whole, (tensor) => ofWhole(tensor, adapter))
      if (found !== undefined) {
        hits.push({ fact, reason: found.reason, tensors: found.of.map(({ name }) => name) })
      }
    }
  }
  return [...hits, ...scaleHit(adapter, loader, hits)]
}

function reasonsIn<T>(
  things: readonly T[],
  reasonOf: (thing: T) => string | undefined,
): { reason: string; of: T[] } | undefined {
  let first: string | undefined
  const of: T[] = []
  for (const thing of things) {
    const reason = reasonOf(thing)
    if (reason === undefined) continue
    first ??= reason
    of.push(thing)
  }
  return first === undefined ? undefined : { reason: first, of }
}

/** Effects that leave nothing of a module that could be scaled. */
const isLost = ({ fact }: Hit) => fact.effect === 'refuses' || fact.effect === 'passes over'

function scaleHit(adapter: JudgedAdapter, loader: Loader, hits: readonly Hit[]): Hit[] {
  const { scaleOf, ...fact } = FACTS[loader].scale
  const lost = new Set(hits.filter(isLost).flatMap(({ modules = [] }) => modules))
  const wrong = adapter.modules.filter(
    (module) => !lost.has(module.label) && !isSameScale(scaleOf(module, adapter), module.scale),
  )
  if (wrong.length === 0) return []
  const [first] = wrong
  const [found, expected] = [scaleOf(first, adapter), first.scale]
  const modules = wrong.map(({ label }) => label)
  return [
    {
      fact,
      reason: `it scales ${first.label} by ${scaleText(found)}, where ${scaleText(expected)} is meant`,
      modules,
      scale: { found, expected },
    },
  ]
}

/** A scale, in four digits. */
export const scaleText = (x: number) => String(Number(x.toPrecision(4)))

function verdictOf(
  hits: readonly Hit[],
  { modules, whole }: JudgedAdapter,
): Pick<LoaderVerdict, 'verdict' | 'loaded'> {
  const has = (effect: Fact['effect']) => hits.some(({ fact }) => fact.effect === effect)
  if (has('refuses')) return { verdict: 'refuses', loaded: 0 }
  const lost = hits.filter(({ fact }) => fact.effect === 'passes over')
  const lostModules = new Set(lost.flatMap(({ modules = [] }) => modules))
  const lostTensors = new Set(lost.flatMap(({ tensors = [] }) => tensors))
  if (lost.some((hit) => hit.modules === undefined && hit.tensors === undefined)) {
    return { verdict: 'loads nothing', loaded: 0 }
  }
  const loaded = modules.filter(({ label }) => !lostModules.has(label)).length
  const isWholeLost = whole.every(({ name }) => lostTensors.has(name))
  const changes = hits.some(({ fact: { effect } }) => effect === 'misreads' || effect === 'scales')
  const isNothingLeft = loaded === 0 && isWholeLost
  if (isNothingLeft && (lost.length > 0 || !changes)) return { verdict: 'loads nothing', loaded }
  if (lost.length > 0) return { verdict: 'loads part', loaded }
  if (has('misreads')) return { verdict: 'wrong numbers', loaded }
  return { verdict: has('scales') ? 'wrong scale' : 'loads', loaded }
}

/** What all of a loader's rules say of the whole adapter, by their place among them; found once. */
const ofWholeAdapter = new WeakMap<JudgedAdapter, Map<Loader, readonly (string | undefined)[]>>()

function adapterReasons(adapter: JudgedAdapter, loader: Loader): readonly (string | undefined)[] {
  const ofLoaders = ofWholeAdapter.get(adapter) ?? new Map<Loader, readonly (string | undefined)[]>()
  ofWholeAdapter.set(adapter, ofLoaders)
  const known = ofLoaders.get(loader)
  if (known !== undefined) return known
  const found = FACTS[loader].rules.map(({ ofAdapter }) => ofAdapter?.(adapter))
  ofLoaders.set(loader, found)
  return found
}

/** Why a loader does not take a module, where it doesn't: of the whole adapter, or of this module. */
export function refusalOf(adapter: JudgedAdapter, loader: Loader, module: ModuleView): string | undefined {
  const reasons = adapterReasons(adapter, loader)
  for (const [at, { effect, ofModule }] of FACTS[loader].rules.entries()) {
    if (effect === 'warns' || effect === 'scales') continue
    const reason = reasons[at] ?? ofModule?.(module, adapter)
    if (reason !== undefined) return reason
  }
  return undefined
}

/** By what a loader multiplies a module. */
export const scaleIn = (adapter: JudgedAdapter, loader: Loader, module: ModuleView): number =>
  FACTS[loader].scale.scaleOf(module, adapter)
