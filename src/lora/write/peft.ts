import { badInput } from '../../errors.ts'
import type { FloatDtype } from '../../formats/dtype.ts'
import {
  type SafetensorsDtype,
  safetensorsDtypeOf,
  storableDtype,
  type TensorDtype,
} from '../../formats/safetensors-dtype.ts'
import { layoutSafetensors } from '../../formats/safetensors-writer.ts'
import { EXPERT_PARAMETERS, peftModule } from '../kinds.ts'
import { planWarnings, stackedWith } from '../loaders/plan-warnings.ts'
import type { SavedModule, TargetModule } from '../model.ts'
import { PEFT_PREFIX } from '../names.ts'
import type { ModelTraits } from '../traits.ts'
import { leafOfPath, ownerOfPath, pathOf } from '../traits.ts'
import { adapterConfig, type ConfigFacts } from './config.ts'
import { escapedPattern, savedTensorName, targetModules } from './targets.ts'

/** A tensor of the base or tuned model, as far as a plan needs it. */
export interface TensorShape {
  readonly dtype: TensorDtype
  readonly shape: readonly number[]
}

export interface AdapterRequest {
  /** The modules to be adapted with the rank of each; those of rank 0 are left out. */
  readonly ranks: ReadonlyMap<TargetModule, number>
  readonly layout: AdapterLayout
  readonly dtype: FloatDtype
  /** All tensors of the base model. */
  readonly base: ReadonlyMap<string, TensorShape>
  readonly traits: ModelTraits
  readonly saved?: readonly SavedModule[]
}

/** Settles what an adapter's files hold. Throws `bad-input` where no module has a rank. */
export function planAdapter({ ranks, layout, dtype, base, traits, saved = [] }: AdapterRequest): AdapterPlan {
  const adapted = [...ranks.keys()].filter((module) => ranks.get(module)! > 0)
  if (adapted.length === 0) throw badInput('no matrix has a rank above 0: there is no adapter to write')
  const replaced = new Set(saved.map(({ path }) => path))
  const modules = [...adapted, ...completeGroups(adapted, base, traits, replaced)]
  const names = factorNames(modules)
  const rankOf = new Map(modules.map((module) => [module.path, ranks.get(module) ?? 0]))
  const r = largest(rankOf.values())
  const planned = modules.map((module): PlannedModule => {
    const rank = rankOf.get(module.path)!
    // a stacked loader needs one rank for the group, so that is what a member without any gets
    const groupRank = largest(stackedWith(module).map((path) => rankOf.get(path) ?? 0))
    const storedRank = layout === 'portable' ? r : rank > 0 ? rank : groupRank
    return { module, rank, storedRank, names: names.get(module)! }
  })
  const isParameter = ({ module }: PlannedModule) => module.kind === 'experts'
  const owners = [...base.keys()].map((name) => ownerOfPath(pathOf(name, traits)))
  const paths = planned.filter((one) => !isParameter(one)).map(({ module }) => module.path)
  const settled = {
    layout,
    dtype,
    r,
    modules: planned,
    saved,
    targetModules: targetModules(
      paths,
      owners.filter((path) => !replaced.has(path)),
    ),
    targetParameters: planned.filter(isParameter).map(({ module }) => module.path),
    rankPattern: new Map(
      planned
        .filter(({ storedRank }) => storedRank !== r)
        .map(({ module, storedRank }) => [`^${escapedPattern(module.path)}`, storedRank]),
    ),
    fanInFanOut: planned.some(({ module }) => module.kind === 'conv1d'),
  }
  return { ...settled, warnings: planWarnings(settled, base) }
}

/** A tensor of adapter_model.safetensors and what its bytes are: a side of a module's factors, or a tensor as stored. */
export interface PlannedTensor extends TensorShape {
  readonly dtype: SafetensorsDtype
  readonly name: string
  readonly content:
    | { readonly planned: PlannedModule; readonly side: 'A' | 'B' }
    | { readonly planned?: never; readonly tensor: string }
}

/** The tensors of adapter_model.safetensors. `tuned` has the dtypes and shapes of what is written whole. */
export function plannedTensors(
  plan: AdapterPlan,
  tuned: ReadonlyMap<string, TensorShape>,
  traits: ModelTraits,
): PlannedTensor[] {
  const dtype = safetensorsDtypeOf(plan.dtype)
  const factors = plan.modules.flatMap((planned): PlannedTensor[] => {
    const shapes = factorShapes(planned.module, planned.storedRank)
    return (['A', 'B'] as const).map((side) => ({
      name: planned.names[side],
      dtype,
      shape: shapes[side],
      content: { planned, side },
    }))
  })
  const whole = plan.saved
    .flatMap(({ tensors }) => tensors)
    .map((tensor) => ({
      name: savedTensorName(tensor, traits),
      ...shapeOf(tuned.get(tensor), tensor),
      content: { tensor },
    }))
  return [...factors, ...whole]
}

function shapeOf(tensor: TensorShape | undefined, name: string) {
  if (tensor === undefined) throw new RangeError(`${name}: to be written whole, but not in the tuned model`)
  return { dtype: storableDtype(tensor.dtype, name), shape: tensor.shape }
}

const largest = (numbers: Iterable<number>) => [...numbers].reduce((most, n) => Math.max(most, n), 0)
/** The metadata of adapter_model.safetensors, which older transformers can't do without. */
export const ADAPTER_METADATA = { format: 'pt' } as const

/** Bytes of each file. */
export interface AdapterSize {
  /** adapter_model.safetensors: its header and its data. */
  readonly header: number
  readonly data: number
  /** adapter_config.json. */
  readonly config: number
  /** README.md. */
  readonly card: number
  readonly total: number
}

const utf8Length = (text: string) => new TextEncoder().encode(text).length

/**
 * The exact bytes of an adapter before anything is computed. `card` is README.md, of which `modelCard` makes one of the
 * same length whether or not its figures are known.
 */
export function adapterSize(
  plan: AdapterPlan,
  tuned: ReadonlyMap<string, TensorShape>,
  traits: ModelTraits,
  facts: ConfigFacts,
  card: string,
): AdapterSize {
  const tensors = plannedTensors(plan, tuned, traits).map((tensor) => ({
    ...tensor,
    data: new Uint8Array(0),
  }))
  const { header, byteLength } = layoutSafetensors(tensors, ADAPTER_METADATA)
  const [config, readme] = [utf8Length(adapterConfig(plan, facts)), utf8Length(card)]
  return {
    header: header.length,
    data: byteLength - header.length,
    config,
    card: readme,
    total: byteLength + config + readme,
  }
}

/** A module as it will be written. */
export interface PlannedModule {
  readonly module: TargetModule
  /** The rank that was chosen; 0 where the module only completes a group, with factors of zeros. */
  readonly rank: number
  /** The rank of the stored factors, padded with zeros. */
  readonly storedRank: number
  /** The tensors' names in adapter_model.safetensors. */
  readonly names: { readonly A: string; readonly B: string }
}

/**
 * `portable`: one rank for all, smaller ones padded with zeros; every loader scales it the same way.
 * `pattern`: each module's own rank, told by `rank_pattern` and `alpha_pattern`, which some loaders don't read.
 */
export type AdapterLayout = 'portable' | 'pattern'

/** All that is settled once names, shapes and ranks are. Nothing of it depends on the factors' values. */
export interface AdapterPlan {
  readonly layout: AdapterLayout
  readonly dtype: FloatDtype
  /** The largest stored rank: PEFT's `r`, and `lora_alpha`. */
  readonly r: number
  readonly modules: readonly PlannedModule[]
  readonly saved: readonly SavedModule[]
  /** A list of suffixes, or a regular expression where no list matches exactly. */
  readonly targetModules: readonly string[] | string
  readonly targetParameters: readonly string[]
  /** Paths of modules whose rank is not `r`, as PEFT's regular expressions; empty in `portable`. */
  readonly rankPattern: ReadonlyMap<string, number>
  readonly fanInFanOut: boolean
  /** What a user should know of loaders that can't take it, one sentence each. */
  readonly warnings: readonly string[]
}

/** PEFT's in and out features. */
const inFeatures = ({ isTransposed, rows, columns }: TargetModule) => (isTransposed ? rows : columns)

const outFeatures = ({ isTransposed, rows, columns }: TargetModule) => (isTransposed ? columns : rows)

/** The shapes of a module's two tensors at rank r. */
export function factorShapes(
  module: TargetModule,
  r: number,
): { readonly A: number[]; readonly B: number[] } {
  const { kind, experts, shape } = module
  if (kind === 'convolution') {
    return { A: [r, ...shape.slice(1)], B: [shape[0], r, ...shape.slice(2).map(() => 1)] }
  }
  return { A: [experts * r, inFeatures(module)], B: [outFeatures(module), r * experts] }
}

/**
 * The names of each module's tensors. Two parameters of one experts module are wrapped one inside the other, the first
 * innermost.
 */
export function factorNames(
  modules: readonly TargetModule[],
): ReadonlyMap<TargetModule, { A: string; B: string }> {
  const paths = new Set(modules.map(({ path }) => path))
  return new Map(
    modules.map((module) => {
      const at = `${PEFT_PREFIX}${module.path}`
      if (module.kind === 'embedding') {
        return [module, { A: `${at}.lora_embedding_A`, B: `${at}.lora_embedding_B` }]
      }
      if (module.kind !== 'experts') return [module, { A: `${at}.lora_A.weight`, B: `${at}.lora_B.weight` }]
      const owner = ownerOfPath(at)
      const [first, second] = EXPERT_PARAMETERS
      const isInner =
        module.path.endsWith(`.${first}`) && paths.has(`${module.path.slice(0, -first.length)}${second}`)
      const wrapper = isInner ? `${owner}.base_layer` : owner
      return [module, { A: `${wrapper}.lora_A.weight`, B: `${wrapper}.lora_B.weight` }]
    }),
  )
}

/**
 * The modules of the base that are missing from the stacked groups of `modules`: to be written with zeros, and zeros on
 * both sides, for nothing that isn't zero belongs there. `taken` are the paths that are written otherwise.
 */
export function completeGroups(
  modules: readonly TargetModule[],
  base: ReadonlyMap<string, { readonly shape: readonly number[] }>,
  traits: ModelTraits,
  taken: ReadonlySet<string> = new Set(),
): TargetModule[] {
  const paths = new Set([...modules.map(({ path }) => path), ...taken])
  const missing: TargetModule[] = []
  for (const module of modules) {
    for (const path of stackedWith(module)) {
      if (paths.has(path)) continue
      const tensor = module.tensor.replace(/[^.]+\.weight$/, `${leafOfPath(path)}.weight`)
      const stored = base.get(tensor)
      if (stored?.shape.length !== 2) continue
      const sibling = peftModule(tensor, 'matrix', stored.shape, traits)
      if ('reason' in sibling) continue
      paths.add(path)
      missing.push(sibling)
    }
  }
  return missing
}
