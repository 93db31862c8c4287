import { tiedPair } from '../checkpoint/correspondence.ts'
import type { Checkpoint } from '../checkpoint/types.ts'
import type { Term } from '../compress/terms.ts'
import { badInput } from '../errors.ts'
import { EXPERT, isPartOfStack, ownerKey } from '../lora/experts.ts'
import { targetedBy } from '../lora/found-by-loaders.ts'
import { inModelNames } from '../lora/gguf-modules.ts'
import { matchToBase } from '../lora/match.ts'
import { type Adapter, type AdapterModule, blamed } from '../lora/model.ts'
import { modelTraits, ownerOfPath } from '../lora/traits.ts'
import { addTo, compareNatural } from '../text/compare.ts'
import { counted, quoted, shapeText } from '../text/quote.ts'
import { NAMES } from './spelling.ts'
import { inUnits, type Unit, type Units, unitName, unitsOf } from './units.ts'

/** An adapter that stands beside others. */
export interface Summand {
  readonly adapter: Adapter
  /** The files that it was read from. */
  readonly checkpoint: Checkpoint
  readonly weight: number
  /** The adapter as its own names say it, where a base has given others. */
  readonly asRead?: Adapter
  /** What its training began with, where that changed the base (PiSSA, OLoRA …): what it adds is the difference of the two. */
  readonly initial?: Adapter
}

/** A weight, and all that adapters do to it. */
export interface SharedModule {
  /** As the first adapter that has it has it; where a base is known, with its tensor's name and shape. */
  readonly module: AdapterModule
  readonly terms: readonly Term[]
  /** Its names are of the first adapter's format already, whichever adapter it is of. */
  readonly isNamed?: true
}

/** One matrix of a module: the module itself, or one expert of it. */
export type LayerOf<M extends SharedModule> = M & {
  readonly name: string
  /** Which matrix of a stack of experts. */
  readonly expert?: number
}

/** Adapters of one model: what each weight gets from which of them. */
export interface BroughtTogether {
  /** With the names and shapes that a base gives their modules. */
  readonly settled: readonly Summand[]
  readonly modules: readonly SharedModule[]
}

/**
 * Brings the modules of all adapters together. Throws `bad-input` where adapters don't fit each other: names of two formats without a base
 * to tell them by, modules that the base has no weight for, and modules of other shapes.
 */
export function bringTogether(summands: readonly Summand[], base: Checkpoint | undefined): BroughtTogether {
  const named = assertedOneFormat(summands, base)
  const [{ adapter: first }] = named
  if (base === undefined) refuseTwoForms(named)
  const settled = named.map((one) => settledBy(one, base))
  const own = settled.flatMap(({ adapter }) => (adapter.format === first.format ? adapter.modules : []))
  const units = base === undefined ? undefined : unitsOf(base, first.format, own)
  if (units === undefined) return { settled, modules: modulesOf(settled, keysBy(base !== undefined)) }
  const { summands: inTheirs, modules } = underUnits(settled, units)
  return { settled: inTheirs, modules }
}

/** The same by the weights of the base, whatever the adapters have in parts or in one. Throws as `bringTogether` does. */
export function onWeights(summands: readonly Summand[], base: Checkpoint | undefined): BroughtTogether {
  const settled = assertedOneFormat(summands, base).map((one) => settledBy(one, base))
  return { settled, modules: modulesOf(settled, keysBy(base !== undefined)) }
}

/** Settled adapters as units have them: modules that no unit is for are still those of their weights. */
export function underUnits(
  settled: readonly Summand[],
  units: Units,
): { readonly summands: readonly Summand[]; readonly modules: readonly SharedModule[] } {
  const inTheirs = settled.map((one) => withUnits(one, units))
  const names = new Map(inTheirs.flatMap(({ units }) => [...units]))
  const keyOf: KeyOf = (module) => {
    const unit = names.get(module)
    return unit === undefined ? { key: module.tensor } : { key: `unit ${unitName(unit)}`, unit }
  }
  const summands = inTheirs.map(({ summand }) => summand)
  return { summands, modules: modulesOf(summands, keyOf) }
}

/** The adapters, whose names are all of one format where no base tells what they mean. */
function assertedOneFormat(summands: readonly Summand[], base: Checkpoint | undefined): readonly Summand[] {
  const named = summands.map((one) => underPeftNames(one, base))
  const [{ adapter: first }] = named
  const other = named.find(({ adapter }) => adapter.format !== first.format)?.adapter
  if (other !== undefined && base === undefined) {
    throw badInput(
      `${other.path}: has names of ${NAMES[other.format]}, ${first.path} of ${NAMES[first.format]}; give --base, which tells what both mean`,
      { file: other.path },
    )
  }
  return named
}

/** Throws where one adapter has the experts of a layer in a stack, and another each by itself: the same weights under two names. */
function refuseTwoForms(summands: readonly Summand[]): void {
  const singles = new Map<string, Adapter>()
  for (const { adapter } of summands) {
    for (const { path } of adapter.modules) {
      const owner = EXPERT.exec(path)?.[1]
      if (owner !== undefined && !singles.has(ownerKey(owner))) singles.set(ownerKey(owner), adapter)
    }
  }
  for (const { adapter } of summands) {
    const stack = adapter.modules.find(({ path }) =>
      [path, ownerOfPath(path)].some((owner) => (singles.get(ownerKey(owner)) ?? adapter) !== adapter),
    )
    if (stack === undefined) continue
    throw badInput(
      `${adapter.path}: has the experts of ${quoted(stack.path)} in a stack, and another adapter each by itself; give --base, which tells what both are of`,
      { file: adapter.path },
    )
  }
}

/** A summand with its modules as units have them, and which that is. */
function withUnits(
  summand: Summand,
  units: Units,
): { readonly summand: Summand; readonly units: ReadonlyMap<AdapterModule, Unit> } {
  const unitOf = new Map<AdapterModule, Unit>()
  const placed = (adapter: Adapter, asRead: Adapter): Adapter => {
    const parts = inUnits(adapter, asRead, units)
    for (const { unit, module } of parts) if (unit !== undefined) unitOf.set(module, unit)
    return { ...adapter, modules: parts.map(({ module }) => module) }
  }
  const { adapter, asRead = adapter, initial } = summand
  return {
    summand: {
      ...summand,
      adapter: placed(adapter, asRead),
      ...(initial !== undefined && { initial: placed(initial, initial) }),
    },
    units: unitOf,
  }
}

/**
 * MLX's paths are those of the model, as PEFT's are, and so are llama.cpp's once a base has told them: what is summed of such adapters is
 * one of PEFT's, with nothing of a config that holds the paths of a training run.
 */
function underPeftNames(summand: Summand, base: Checkpoint | undefined): Summand {
  const { adapter, checkpoint } = summand
  if (adapter.format !== 'mlx' && adapter.format !== 'gguf') return summand
  const named = base === undefined ? adapter : namedByModel(adapter, base)
  if (named.format === 'gguf') return summand
  const isDora = adapter.modules.some(({ magnitude }) => magnitude !== undefined)
  const adapterConfig = isDora ? { use_dora: true } : {}
  return {
    ...summand,
    asRead: adapter,
    adapter: { ...named, format: 'peft' },
    checkpoint: { ...checkpoint, adapterConfig },
  }
}

/** A GGUF adapter as one of PEFT's. Throws `bad-input` for a module that the base's model has no name for. */
function namedByModel(asStored: Adapter, base: Checkpoint): Adapter {
  const { adapter, unnamed } = inModelNames(asStored, base)
  const [lost] = unnamed
  if (lost !== undefined) throw unapplicable(asStored, lost.module, base, lost.reason)
  const isNamed = asStored.format === 'gguf' && !base.isGguf
  return isNamed ? { ...adapter, format: 'peft' } : adapter
}

const unapplicable = (adapter: Adapter, module: AdapterModule, base: Checkpoint, reason: string) =>
  badInput(
    `${adapter.path}: the module ${quoted(module.label)} can't be applied to ${base.path}: ${reason}`,
    { file: adapter.path, tensor: blamed(module, 'A').name },
  )

/** Why a base has no weight for its head, where that is the module. */
function tiedReason({ path }: AdapterModule, base: Checkpoint): string | undefined {
  const tied = tiedPair(base)
  return tied?.isStored === false && tied.head === `${path}.weight`
    ? `its head is tied to its embedding ${quoted(tied.embedding.name)}, and has no weight of its own`
    : undefined
}

/** The adapters of a summand with the names and shapes that a base gives their modules. */
function settledBy(summand: Summand, base: Checkpoint | undefined): Summand {
  if (base === undefined) return summand
  const settle = (adapter: Adapter): Adapter => {
    const { matched, unmatched, replaced, warnings } = matchToBase(
      adapter,
      base,
      modelTraits(base.config, base.tensors),
    )
    const [lost] = unmatched
    if (lost !== undefined)
      throw unapplicable(adapter, lost.module, base, tiedReason(lost.module, base) ?? lost.reason)
    return {
      ...adapter,
      modules: matched.map(({ module }) => module),
      replaced: adapter.replaced.map((own) => {
        const found = replaced.filter(({ asRead }) => asRead === own)
        // what lies otherwise in the base keeps the adapter's own name
        return found.length === 1 && found[0].replaced.fit === undefined ? found[0].replaced : own
      }),
      warnings: [...adapter.warnings, ...warnings],
    }
  }
  const { adapter, asRead = adapter, initial } = summand
  return {
    ...summand,
    asRead,
    adapter: settle(adapter),
    ...(initial !== undefined && { initial: settle(initial) }),
  }
}

/** By what modules of two adapters are told to be the same, and the unit that they are. */
type KeyOf = (module: AdapterModule, adapter: Adapter) => { readonly key: string; readonly unit?: Unit }

/** The weight that they change, and of names without a base its prefix. */
const keysBy =
  (hasBase: boolean): KeyOf =>
  ({ tensor, prefix }, { format }) => ({
    key: format === 'peft' || hasBase ? tensor : `${prefix}${tensor}`,
  })

function modulesOf(summands: readonly Summand[], keyOf: KeyOf): SharedModule[] {
  const groups = new Map<string, { readonly unit: Unit | undefined; readonly terms: Term[] }>()
  for (const [index, { adapter, initial, weight }] of summands.entries()) {
    const add = (module: AdapterModule, of: Adapter, weight: number) => {
      const { key, unit } = keyOf(module, of)
      const group = groups.get(key) ?? { unit, terms: [] }
      group.terms.push({ module, weight, path: of.path, adapter: index })
      groups.set(key, group)
      return key
    }
    const initials = new Map<string, AdapterModule[]>()
    for (const module of initial?.modules ?? []) addTo(initials, keyOf(module, initial!).key, module)
    const keys = new Set(adapter.modules.map((module) => add(module, adapter, weight)))
    for (const key of keys) for (const module of initials.get(key) ?? []) add(module, initial!, -weight)
  }
  return [...groups.values()]
    .map(({ unit, terms }): SharedModule => {
      for (const other of terms) assertSameForm(terms[0], other)
      const [{ module }] = terms
      return unit === undefined ? { module, terms } : { module: namedAs(unit, module), terms, isNamed: true }
    })
    .sort((a, b) => compareNatural(a.module.label, b.module.label))
}

/** A module of a unit under the unit's names, with all of its rows. */
function namedAs({ prefix, path, label }: Unit, module: AdapterModule): AdapterModule {
  const isOwn = module.prefix === prefix && module.path === path
  if (isOwn && module.fit === undefined) return module
  const { fit: _, ...whole } = module
  return { ...whole, prefix, path, label }
}

function assertSameForm(first: Term, other: Term): void {
  const [a, b] = [first.module, other.module]
  const isSame = a.rows === b.rows && a.columns === b.columns && a.experts === b.experts
  // of one stack PEFT's releases have factors that lie in two ways, and all are read as the weight lies
  const isOfStacks = a.kind === 'experts' && b.kind === 'experts'
  if (isSame && (isOfStacks || a.isTransposed === b.isTransposed)) return
  throw badInput(
    `${other.path}: the module ${quoted(b.label)} is of a weight ${shapeText(b.shape)}, in ${first.path} of one ${shapeText(a.shape)}: the two are of other bases${a.kind === 'experts' ? ', or --base has to tell how experts are stored' : ''}`,
    { file: other.path, tensor: blamed(b, 'A').name },
  )
}

/** The matrices of a module: one, or one of each expert. */
export function layersOf<M extends SharedModule>(shared: M): LayerOf<M>[] {
  const { kind, experts, label, tensor } = shared.module
  if (kind !== 'experts') return [{ ...shared, name: label }]
  return Array.from({ length: experts }, (_, expert) => ({
    ...shared,
    expert,
    name: `${tensor}[${expert}]`,
  }))
}

/** What is to be known of an adapter; not that it belongs to a changed base where what it began with is taken off. */
export function warningsOf({ adapter, initial }: Summand): readonly string[] {
  const { warnings, config } = adapter
  if (initial === undefined) return warnings
  return warnings.filter((line) => !line.startsWith(`${config?.mutatesBase}:`))
}

/** Modules that PEFT would take for nothing in the adapter as it is, though its factors are summed. */
export function untargeted({ path, config, modules, format }: Adapter): string[] {
  if (format !== 'peft' || config === undefined) return []
  const isTargeted = targetedBy(config.targetModules)
  const missed = modules.filter(
    // experts of stacks are named by target_parameters
    (module) => module.kind !== 'experts' && !isPartOfStack(module) && !isTargeted(module.path),
  )
  if (missed.length === 0) return []
  return [
    `${path}: PEFT loads nothing of ${counted(missed.length, 'module')} (${quoted(missed[0].label)}${missed.length > 1 ? ', …' : ''}), which target_modules does not name; their factors count here, and the result names them`,
  ]
}
