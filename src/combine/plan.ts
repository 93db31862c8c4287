import type { Checkpoint } from '../checkpoint/types.ts'
import type { Term } from '../compress/sum.ts'
import { badInput } from '../errors.ts'
import type { FloatDtype } from '../formats/dtype.ts'
import { floatDtypeOf } from '../formats/safetensors-dtype.ts'
import { matchToBase } from '../lora/match.ts'
import { type Adapter, type AdapterFormat, type AdapterModule, blamed, tensorsOf } from '../lora/model.ts'
import { COPY_OF_BASE } from '../lora/read/peft.ts'
import { modelTraits } from '../lora/traits.ts'
import { addTo, compareNatural } from '../text/compare.ts'
import { quoted, shapeText } from '../text/quote.ts'
import { type KeptTensor, keptTensors, type Prefer } from './kept.ts'
import { NAMES, spelledAs } from './spelling.ts'

/** An adapter that takes part in a sum. */
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

/** A module of the result, and what adds up to it. */
export interface SummedModule {
  /** As the first adapter that has it has it; where a base is known, with its tensor's name and shape. */
  readonly module: AdapterModule
  /** How its tensors are spelled: as this one's, which is another where the module comes from an adapter of another format. */
  readonly like: AdapterModule
  readonly terms: readonly Term[]
}

/** One matrix of the result: a module, or one expert of it. */
export interface SummedLayer extends SummedModule {
  readonly name: string
  /** Which matrix of a stack of experts. */
  readonly expert?: number
}

/** A tensor of an adapter that nobody reads, so that nothing of it is in the result. */
export interface LostTensor {
  readonly path: string
  readonly name: string
  readonly reason: string
}

/** What the result is made of, from headers and configs. */
export interface CombinePlan {
  readonly format: AdapterFormat
  readonly summands: readonly Summand[]
  readonly modules: readonly SummedModule[]
  readonly layers: readonly SummedLayer[]
  readonly kept: readonly KeptTensor[]
  readonly lost: readonly LostTensor[]
  /** dtype of the factors. */
  readonly dtype: FloatDtype
  readonly warnings: readonly string[]
}

export interface CombineOptions {
  /** Tells which tensors modules of unlike names mean, and how experts are stored. */
  readonly base?: Checkpoint | undefined
  readonly dtype?: FloatDtype | undefined
  readonly prefer?: Prefer | undefined
}

/**
 * Brings the modules of all adapters together, in the names of the first. Throws `bad-input` where adapters don't fit each other: names
 * of two formats without a base to tell them by, modules of other shapes, and whole tensors that two of them replace in two ways.
 */
export async function planSum(
  summands: readonly Summand[],
  { base, dtype, prefer }: CombineOptions,
): Promise<CombinePlan> {
  const [{ adapter: first }] = summands
  const foreign = summands.find(({ adapter }) => adapter.format === 'gguf')?.adapter
  if (foreign !== undefined) {
    throw badInput(
      `${foreign.path}: is a GGUF adapter, with the names and the order of rows of llama.cpp, in which no sum is written; name the adapter that it was converted from`,
      { file: foreign.path },
    )
  }
  const other = summands.find(({ adapter }) => adapter.format !== first.format)?.adapter
  if (other !== undefined && base === undefined) {
    throw badInput(
      `${other.path}: has names of ${NAMES[other.format]}, ${first.path} of ${NAMES[first.format]}; give --base, which tells what both mean`,
      { file: other.path },
    )
  }
  const settled = summands.map((one) => settledBy(one, base))
  const modules = modulesOf(settled, base !== undefined)
  const kept = await keptTensors(settled, outputNames(modules), prefer)
  refuseReplaced(modules, kept)
  return {
    format: first.format,
    summands: settled,
    modules,
    layers: modules.flatMap(layersOf),
    kept,
    lost: summands.flatMap(({ adapter: { path, ignored } }) =>
      ignored.filter(({ reason }) => reason !== COPY_OF_BASE).map((one) => ({ path, ...one })),
    ),
    dtype: dtype ?? commonDtype(modules),
    warnings: settled.flatMap(warningsOf),
  }
}

/** What is to be known of an adapter; not that it belongs to a changed base where what it began with is taken off. */
const warningsOf = ({ adapter: { warnings, config }, initial }: Summand): readonly string[] =>
  initial === undefined ? warnings : warnings.filter((line) => !line.startsWith(`${config?.mutatesBase}:`))

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
  const { adapter, initial } = summand
  return {
    ...summand,
    asRead: adapter,
    adapter: settle(adapter),
    ...(initial !== undefined && { initial: settle(initial) }),
  }
}

/** The module of the result that a module of an adapter goes into. */
function outputNames(modules: readonly SummedModule[]): ReadonlyMap<AdapterModule, AdapterModule> {
  return new Map(modules.flatMap(({ module, terms }) => terms.map((term) => [term.module, module] as const)))
}

/** Throws `bad-input` where one adapter replaces the very weight that another changes by factors: no adapter does both. */
function refuseReplaced(modules: readonly SummedModule[], kept: readonly KeptTensor[]): void {
  const whole = new Map(
    kept.flatMap((one) => (one.replaces === undefined ? [] : [[one.replaces, one] as const])),
  )
  for (const { module, terms } of modules) {
    const found = whole.get(module.tensor)
    const [part] = found?.parts ?? []
    const other = terms.find(({ path }) => path !== part?.path)
    if (part === undefined || other === undefined) continue
    throw badInput(
      `${part.path}: ${quoted(part.tensor.name)} takes the place of the weight that ${other.path} changes by its factors for ${quoted(module.label)}: no adapter does both; apply them to the base one after the other`,
      { file: part.path, tensor: part.tensor.name },
    )
  }
}

/** By what modules of two adapters are told to be the same: the weight that they change, and of names without a base its prefix. */
const keyOf = ({ tensor, prefix }: AdapterModule, { format }: Adapter, hasBase: boolean): string =>
  format === 'peft' || hasBase ? tensor : `${prefix}${tensor}`

function modulesOf(summands: readonly Summand[], hasBase: boolean): SummedModule[] {
  const [{ adapter: first }] = summands
  const named = spelledAs(first)
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
    .map((all): SummedModule => {
      const [{ module, adapter, path }] = all
      for (const other of all) assertSameForm(all[0], other)
      const isForeign = summands[adapter].adapter.format !== first.format
      return { ...(isForeign ? named(module, path) : { module, like: likeIn(first, module) }), terms: all }
    })
    .sort((a, b) => compareNatural(a.module.label, b.module.label))
}

/** A module of the first adapter, by whose spelling this one's tensors go: loaders read no file of two spellings. */
const likeIn = ({ modules }: Adapter, module: AdapterModule): AdapterModule =>
  modules.includes(module) ? module : (modules.find(({ prefix }) => prefix === module.prefix) ?? module)

function assertSameForm(first: Term, other: Term): void {
  const [a, b] = [first.module, other.module]
  const isSame = a.rows === b.rows && a.columns === b.columns && a.experts === b.experts
  if (isSame && a.isTransposed === b.isTransposed) return
  throw badInput(
    `${other.path}: the module ${quoted(b.label)} is of a weight ${shapeText(b.shape)}, in ${first.path} of one ${shapeText(a.shape)}: the two are of other bases${a.kind === 'experts' ? ', or --base has to tell how experts are stored' : ''}`,
    { file: other.path, tensor: blamed(b, 'A').name },
  )
}

function layersOf(summed: SummedModule): SummedLayer[] {
  const { kind, experts, label, tensor } = summed.module
  if (kind !== 'experts') return [{ ...summed, name: label }]
  return Array.from({ length: experts }, (_, expert) => ({
    ...summed,
    expert,
    name: `${tensor}[${expert}]`,
  }))
}

/** bf16 or f16 where all factors are stored so, else f32. */
function commonDtype(modules: readonly SummedModule[]): FloatDtype {
  const dtypes = new Set(
    modules.flatMap(({ terms }) =>
      terms.flatMap(({ module }) => tensorsOf(module.product).map(({ dtype }) => floatDtypeOf(dtype))),
    ),
  )
  const [only] = dtypes
  return dtypes.size === 1 && (only === 'bf16' || only === 'f16') ? only : 'f32'
}
