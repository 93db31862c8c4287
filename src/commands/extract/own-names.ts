import type { Checkpoint, StoredTensor } from '../../checkpoint/types.ts'
import type { SharedModule, Summand } from '../../combine/modules.ts'
import type { AdapterModule, TargetModule } from '../../lora/model.ts'
import { factorShapes } from '../../lora/write/peft.ts'
import { addTo } from '../../text/compare.ts'
import type { PlannedLayer } from './plan.ts'

/** A module of the base, and the rank that its factors are stored at: of a stack of experts the largest of them. */
export interface RankedModule {
  readonly module: TargetModule
  readonly rank: number
}

/** The modules of layers whose rank is above 0, in the order of their first. */
export function rankedModules(layers: readonly PlannedLayer[], ranks: readonly number[]): RankedModule[] {
  const found = new Map<TargetModule, number[]>()
  for (const [i, { module }] of layers.entries()) if (ranks[i] > 0) addTo(found, module, ranks[i])
  return [...found].map(([module, all]) => ({ module, rank: Math.max(...all) }))
}

/** The names under which the factors of a module lie until they get those of a format. */
export const ownName = ({ tensor }: TargetModule, side: 'A' | 'B') => `${tensor}.lora_${side}`

/** The factors of modules as an adapter under the base's own names, from which other formats are made. Their scale is 1. */
export function underOwnNames(
  modules: readonly RankedModule[],
  base: Checkpoint,
  factors?: Checkpoint,
): Summand {
  const stored = (module: TargetModule, side: 'A' | 'B', shape: readonly number[]): StoredTensor =>
    factors?.tensors.get(ownName(module, side)) ?? planned(ownName(module, side), shape)
  const adapter = {
    ...({ format: 'peft', path: base.path, replaced: [], ignored: [], warnings: [] } as const),
    modules: modules.map((one) => adapterModule(one, stored)),
  }
  return { adapter, checkpoint: factors ?? base, weight: 1 }
}

/** A tensor that is yet to be written. */
const planned = (name: string, shape: readonly number[]): StoredTensor => ({
  ...{ name, dtype: 'F32', shape, bytes: 0 },
  source: { kind: 'bytes', bytes: new Uint8Array(0) },
})

function adapterModule(
  { module, rank }: RankedModule,
  stored: (module: TargetModule, side: 'A' | 'B', shape: readonly number[]) => StoredTensor,
): AdapterModule {
  const { path, kind, shape, rows, columns, isTransposed } = module
  const shapes = factorShapes(module, rank)
  return {
    ...module,
    ...{ prefix: '', label: path, rank, dim: rank, scale: 1 },
    product: { kind: 'lora', A: stored(module, 'A', shapes.A), B: stored(module, 'B', shapes.B) },
    productShape: isTransposed ? [columns, rows] : [rows, columns],
    kernel: kind === 'convolution' ? shape.slice(2) : [],
  }
}

/** The modules of such an adapter, each alone. */
export const sharedModules = ({ adapter: { modules, path } }: Summand): SharedModule[] =>
  modules.map((module) => ({ module, terms: [{ module, weight: 1, path, adapter: 0 }] }))
