import type { Checkpoint } from '../checkpoint/types.ts'
import type { Term } from '../compress/terms.ts'
import { badInput } from '../errors.ts'
import { targetedBy } from '../lora/found-by-loaders.ts'
import { matchToBase } from '../lora/match.ts'
import { type Adapter, type AdapterModule, blamed } from '../lora/model.ts'
import { modelTraits } from '../lora/traits.ts'
import { addTo, compareNatural } from '../text/compare.ts'
import { counted, quoted, shapeText } from '../text/quote.ts'
import { NAMES } from './spelling.ts'

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
  const named = summands.map(underPeftNames)
  const [{ adapter: first }] = named
  const other = named.find(({ adapter }) => adapter.format !== first.format)?.adapter
  if (other !== undefined && base === undefined) {
    throw badInput(
      `${other.path}: has names of ${NAMES[other.format]}, ${first.path} of ${NAMES[first.format]}; give --base, which tells what both mean`,
      { file: other.path },
    )
  }
  const settled = named.map((one) => settledBy(one, base))
  return { settled, modules: modulesOf(settled, base !== undefined) }
}

/**
 * MLX's paths are those of the model, as PEFT's are: what is summed of its adapters is one of PEFT's, with nothing of a config that holds the
 * paths of a training run.
 */
function underPeftNames(summand: Summand): Summand {
  const { adapter, checkpoint } = summand
  if (adapter.format !== 'mlx') return summand
  const isDora = adapter.modules.some(({ magnitude }) => magnitude !== undefined)
  const adapterConfig = isDora ? { use_dora: true } : {}
  return {
    ...summand,
    asRead: adapter,
    adapter: { ...adapter, format: 'peft' },
    checkpoint: { ...checkpoint, adapterConfig },
  }
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
    if (lost !== undefined) {
      throw badInput(
        `${adapter.path}: the module ${quoted(lost.module.label)} can't be applied to ${base.path}: ${lost.reason}`,
        { file: adapter.path, tensor: blamed(lost.module, 'A').name },
      )
    }
    return {
      ...adapter,
      modules: matched.map(({ module }) => module),
      replaced: replaced.map((one) => one.replaced),
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

/** By what modules of two adapters are told to be the same: the weight that they change, and of names without a base its prefix. */
const keyOf = ({ tensor, prefix }: AdapterModule, { format }: Adapter, hasBase: boolean): string =>
  format === 'peft' || hasBase ? tensor : `${prefix}${tensor}`

function modulesOf(summands: readonly Summand[], hasBase: boolean): SharedModule[] {
  const terms = new Map<string, Term[]>()
  for (const [index, { adapter, initial, weight }] of summands.entries()) {
    const term = (module: AdapterModule, of: Adapter, weight: number): Term => ({
      module,
      weight,
      path: of.path,
      adapter: index,
    })
    const initials = new Map(initial?.modules.map((module) => [keyOf(module, initial!, hasBase), module]))
    for (const module of adapter.modules) {
      const key = keyOf(module, adapter, hasBase)
      addTo(terms, key, term(module, adapter, weight))
      const before = initials.get(key)
      if (before !== undefined) addTo(terms, key, term(before, initial!, -weight))
    }
  }
  return [...terms.values()]
    .map((all): SharedModule => {
      for (const other of all) assertSameForm(all[0], other)
      return { module: all[0].module, terms: all }
    })
    .sort((a, b) => compareNatural(a.module.label, b.module.label))
}

function assertSameForm(first: Term, other: Term): void {
  const [a, b] = [first.module, other.module]
  const isSame = a.rows === b.rows && a.columns === b.columns && a.experts === b.experts
  if (isSame && a.isTransposed === b.isTransposed) return
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
  const missed = modules.filter((module) => module.kind !== 'experts' && !isTargeted(module.path))
  if (missed.length === 0) return []
  return [
    `${path}: PEFT loads nothing of ${counted(missed.length, 'module')} (${quoted(missed[0].label)}${missed.length > 1 ? ', …' : ''}), which target_modules does not name; their factors count here, and the result names them`,
  ]
}
