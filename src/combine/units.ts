import type { Checkpoint } from '../checkpoint/types.ts'
import { badInput } from '../errors.ts'
import { type Layout, layoutsOf, partOf } from '../lora/families/layout.ts'
import { type ModuleName, moduleNames } from '../lora/families/modules.ts'
import { type Finder, placesOf } from '../lora/families/places.ts'
import type { Naming } from '../lora/families/types.ts'
import { composed, joined, overlap, rowsReached, rowsWanted, runsOf } from '../lora/fit.ts'
import { type Adapter, type AdapterFormat, type AdapterModule, blamed, type RowRun } from '../lora/model.ts'
import { PEFT_PREFIX, type SpelledFormat, splitPrefix } from '../lora/names.ts'
import { quoted } from '../text/quote.ts'

/**
 * A module under which a sum of adapters of a diffusion model is written, as one weight of the base sees it: adapters and base may
 * each have queries, keys and values in one, or apart.
 */
export interface Unit {
  readonly prefix: string
  readonly path: string
  readonly label: string
  /** How many rows it has, and which of them are which of the weight. */
  readonly rows: number
  readonly fit: readonly RowRun[] | undefined
  /** The weight lies the other way round. */
  readonly isTurned: boolean
}

/** In full, as names of its tensors begin. */
export const unitName = ({ prefix, path }: Unit) => prefix + path

/** The units that a weight of the base is of. */
export type Units = (tensor: string) => readonly Unit[]

/**
 * The units of a sum in one format's names: the modules of the adapters that are of the format, and for what these don't have the
 * modules that its naming has. Undefined where the base is of no family whose names are known.
 */
export function unitsOf(
  base: Checkpoint,
  format: AdapterFormat,
  own: readonly AdapterModule[],
): Units | undefined {
  const named = format === 'gguf' || format === 'mlx' ? undefined : namedUnits(base, format)
  if (named === undefined) return undefined
  const units = new Map<string, Unit[]>()
  const add = (tensor: string, unit: Unit) => {
    const rows = base.tensors.get(tensor)!.shape[0]
    const known = units.get(tensor) ?? []
    if (known.some(({ fit }) => overlap(rowsReached(fit, rows), rowsReached(unit.fit, rows)))) return
    units.set(tensor, [...known, unit])
  }
  for (const module of own) {
    const { prefix, path, label, fit, kind } = module
    const isTurned = kind === 'conv1d'
    const rows = fit === undefined && !isTurned ? module.rows : module.productShape[0]
    add(module.tensor, { prefix, path, label, rows, fit, isTurned })
  }
  const whole = new Set<string>()
  return (tensor) => {
    if (!whole.has(tensor)) for (const unit of named(tensor)) add(tensor, unit)
    whole.add(tensor)
    return units.get(tensor) ?? []
  }
}

const NAMING_OF: Readonly<Record<SpelledFormat, Naming>> = {
  kohya: 'kohya',
  comfyui: 'comfyui',
  diffusers: 'diffusers',
  // of one component, in the names of its own
  peft: 'diffusers',
}

/** The modules of a format's naming. */
function namedUnits(base: Checkpoint, format: SpelledFormat): Units | undefined {
  const layouts = layoutsOf(base.tensors).map((layout) => ({
    layout,
    names: moduleNames(layout, NAMING_OF[format]),
    find: placesOf(layout),
  }))
  if (layouts.length === 0) return undefined
  return (tensor) => {
    const { shape } = base.tensors.get(tensor)!
    for (const { layout, names, find } of layouts) {
      const { kind } = partOf(layout, tensor)
      if (kind === 'other' || kind === 'vae' || (format === 'peft' && kind === 'encoder')) continue
      return (names(tensor) ?? []).map((name) => unitOf(name, shape, { layout, format, find }))
    }
    return []
  }
}

function unitOf(
  module: ModuleName,
  shape: readonly number[],
  {
    layout,
    format,
    find,
  }: { readonly layout: Layout; readonly format: SpelledFormat; readonly find: Finder },
): Unit {
  const isTurned = module.isTransposed === true
  const rows = isTurned ? shape[1] : rowsWanted(find(module.name), shape[0])
  const isPeft = format === 'peft'
  const name = isPeft ? PEFT_PREFIX + module.name.slice(layout.component.length + 1) : module.name
  return {
    ...{ ...splitPrefix(name, format), label: name, rows, isTurned },
    fit: isTurned ? undefined : runsOf(module, [rows, shape[0]]),
  }
}

/** A module, or rows of one, as they lie in a unit. */
export interface UnitPart {
  readonly unit: Unit
  readonly module: AdapterModule
}

/**
 * The matched modules of an adapter as units have them; of those that no unit is for `unit` is undefined. Modules that the base has in
 * parts come together again. Throws `bad-input` where units have some rows of a module and not others.
 */
export function inUnits(
  { modules, path }: Adapter,
  { modules: asRead }: Adapter,
  units: Units,
): readonly (UnitPart | { readonly unit: undefined; readonly module: AdapterModule })[] {
  const labels = new Map(asRead.map(({ product, label }) => [product, label]))
  const products = new Map(asRead.map(({ product }, i) => [product, i]))
  const parts = new Map<string, UnitPart & { readonly runs: RowRun[] }>()
  const others: AdapterModule[] = []
  for (const matched of modules) {
    const module = { ...matched, label: labels.get(matched.product) ?? matched.label }
    const own = module.kind === 'experts' ? [] : units(module.tensor)
    if (own.length === 0) others.push(matched)
    let left = countOf(composed(module.fit, undefined, module.shape[0]))
    for (const unit of own) {
      const runs = composed(module.fit, unit.fit, module.shape[0])
      left -= countOf(runs)
      if (runs.length === 0) continue
      const key = `${products.get(module.product)} ${unitName(unit)}`
      const known = parts.get(key)
      if (known === undefined) parts.set(key, { unit, module, runs: [...runs] })
      else known.runs.push(...runs)
    }
    if (own.length > 0 && left > 0) throw inPart(path, module, own)
  }
  return [
    ...[...parts.values()].map(({ unit, module, runs }) => ({ unit, module: asUnit(module, unit, runs) })),
    ...others.map((module) => ({ unit: undefined, module })),
  ]
}

const countOf = (runs: readonly RowRun[]) => runs.reduce((sum, { count }) => sum + count, 0)

const inPart = (path: string, module: AdapterModule, [unit]: readonly Unit[]) =>
  badInput(
    `${path}: the module ${quoted(module.label)} has rows of ${quoted(module.tensor)} that ${quoted(unitName(unit))} and its like, under which the result is written, don't have; name ${path} first`,
    { file: path, tensor: blamed(module, 'A').name },
  )

/** A module with the rows of a unit. */
function asUnit(module: AdapterModule, { rows, isTurned }: Unit, runs: readonly RowRun[]): AdapterModule {
  const { fit: _, ...own } = module
  if (isTurned) {
    // the names' own layer is the other way round
    const [out, columns] = module.productShape
    return { ...own, kind: 'linear', shape: [out, columns], rows: out, columns, isTransposed: false }
  }
  const placed = { ...own, rows, shape: [rows, ...module.shape.slice(1)] }
  if (module.isTransposed) return placed
  const [run, ...others] = joined(runs)
  const isWhole =
    others.length === 0 &&
    run.module === 0 &&
    run.weight === 0 &&
    run.count === rows &&
    run.count === module.productShape[0]
  return isWhole ? placed : { ...placed, fit: [run, ...others] }
}
