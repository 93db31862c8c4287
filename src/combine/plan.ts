import type { Checkpoint } from '../checkpoint/types.ts'
import { badInput } from '../errors.ts'
import type { FloatDtype } from '../formats/dtype.ts'
import { floatDtypeOf } from '../formats/safetensors-dtype.ts'
import { type Adapter, type AdapterFormat, type AdapterModule, tensorsOf } from '../lora/model.ts'
import { COPY_OF_BASE } from '../lora/read/peft.ts'
import { compareNatural } from '../text/compare.ts'
import { quoted } from '../text/quote.ts'
import { type KeptTensor, keptTensors, type Prefer } from './kept.ts'
import {
  bringTogether,
  type LayerOf,
  layersOf,
  type SharedModule,
  type Summand,
  untargeted,
  warningsOf,
} from './modules.ts'
import { lyingIn, spelledAs } from './spelling.ts'

/** A module of the result, and what adds up to it. */
export interface SummedModule extends SharedModule {
  /** How its tensors are spelled: as this one's, which is another where the module comes from an adapter of another format. */
  readonly like: AdapterModule
}

/** One matrix of the result: a module, or one expert of it. */
export type SummedLayer = LayerOf<SummedModule>

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
  if (base === undefined || base.isGguf) refuseGguf(summands, base)
  const { settled, modules: shared } = bringTogether(summands, base)
  const modules = spelledModules(settled, shared)
  const kept = await keptTensors(settled, outputNames(modules), prefer)
  refuseReplaced(modules, kept)
  return {
    format: settled[0].adapter.format,
    summands: settled,
    modules,
    layers: modules.flatMap(layersOf),
    kept,
    lost: summands.flatMap(({ adapter: { path, ignored } }) =>
      ignored.filter(({ reason }) => reason !== COPY_OF_BASE).map((one) => ({ path, ...one })),
    ),
    dtype: dtype ?? commonDtype(modules),
    warnings: settled.flatMap((one) => [...warningsOf(one), ...untargeted(one.adapter)]),
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

/** The modules under names that the first adapter's format has. */
function spelledModules(summands: readonly Summand[], shared: readonly SharedModule[]): SummedModule[] {
  const [{ adapter: first }] = summands
  const named = spelledAs(first)
  return shared
    .map(({ module, terms, isNamed }): SummedModule => {
      if (isNamed) return { module: lyingIn(first.format, module), like: likeIn(first, module, true), terms }
      const [{ adapter, path }] = terms
      const isForeign = summands[adapter].adapter.format !== first.format
      return { ...(isForeign ? named(module, path) : { module, like: likeIn(first, module) }), terms }
    })
    .sort((a, b) => compareNatural(a.module.label, b.module.label))
}

/** A module of the first adapter, by whose spelling this one's tensors go: loaders read no file of two spellings. */
const likeIn = ({ modules }: Adapter, module: AdapterModule, isNamed = false): AdapterModule =>
  modules.includes(module)
    ? module
    : (modules.find(({ prefix }) => prefix === module.prefix) ?? (isNamed ? modules[0] : undefined) ?? module)

/** Throws for an adapter of llama.cpp that no base gives the model's own names to. */
function refuseGguf(summands: readonly Summand[], base: Checkpoint | undefined): void {
  const foreign = summands.find(({ adapter }) => adapter.format === 'gguf')?.adapter
  if (foreign === undefined) return
  throw badInput(
    `${foreign.path}: is a GGUF adapter, with the names and the order of rows of llama.cpp; give the folder of the base that it is of by --base${base === undefined ? '' : ` and not ${base.path}`}, whose config.json tells the model's own`,
    { file: foreign.path },
  )
}

/** bf16 or f16 where all factors are stored so, else f32. */
export function commonDtype(modules: readonly Pick<SharedModule, 'terms'>[]): FloatDtype {
  const dtypes = new Set(
    modules.flatMap(({ terms }) =>
      terms.flatMap(({ module }) => tensorsOf(module.product).map(({ dtype }) => floatDtypeOf(dtype))),
    ),
  )
  const [only] = dtypes
  return dtypes.size === 1 && (only === 'bf16' || only === 'f16') ? only : 'f32'
}
