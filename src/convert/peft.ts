import type { Checkpoint } from '../checkpoint/types.ts'
import type { FloatDtype } from '../formats/dtype.ts'
import { type Layout, partOf } from '../lora/families/layout.ts'
import { peftModule } from '../lora/kinds.ts'
import type { TargetModule } from '../lora/model.ts'
import type { ModelTraits } from '../lora/traits.ts'
import { adapterConfig } from '../lora/write/config.ts'
import { type AdapterLayout, type AdapterPlan, factorShapes, planAdapter } from '../lora/write/peft.ts'
import { compareUtf8 } from '../text/compare.ts'
import type { Change, Dropped, Pair } from './target.ts'

/** What is known of the model that an adapter is of. */
export interface PeftModel {
  readonly base: Checkpoint | undefined
  readonly layout: Layout | undefined
  readonly traits: ModelTraits
  readonly baseModel: string | undefined
  readonly taskType: string | undefined
}

export interface PeftPairs {
  readonly plan: AdapterPlan
  readonly pairs: readonly Pair[]
  readonly dropped: readonly Dropped[]
  readonly config: string
}

/** The changes of each weight together: those of a stack of experts are one module. */
export function byWeight(changes: readonly Change[]): Map<string, Change[]> {
  const groups = new Map<string, Change[]>()
  for (const change of changes) {
    const known = groups.get(change.module.tensor)
    if (known === undefined) groups.set(change.module.tensor, [change])
    else known.push(change)
  }
  return groups
}

/**
 * PEFT's modules of the changes, with the config that makes PEFT load them. Without a base each module is named by its whole path, so
 * that no other one of the model is meant.
 */
export function peftPairs(
  changes: readonly Change[],
  model: PeftModel,
  layout: AdapterLayout,
  dtype: FloatDtype,
): PeftPairs {
  const groups = byWeight(changes)
  const dropped: Dropped[] = []
  const targets = new Map<TargetModule, readonly Change[]>()
  for (const group of groups.values()) {
    const target = targetOf(group[0], model)
    if ('reason' in target) dropped.push({ name: group[0].module.label, reason: target.reason })
    else targets.set(target, group)
  }
  const tensors =
    model.base?.tensors ??
    new Map([...targets.keys()].map(({ tensor, shape }) => [tensor, { dtype: 'F32', shape } as const]))
  const ranks = new Map([...targets].map(([target, group]) => [target, largestOf(group)]))
  const planned = planAdapter({ ranks, layout, dtype, base: tensors, traits: model.traits })
  const paths = planned.modules
    .filter(({ module }) => module.kind !== 'experts')
    .map(({ module }) => module.path)
  const plan = model.base === undefined ? { ...planned, targetModules: paths.sort(compareUtf8) } : planned
  const pairs = plan.modules.map(({ module, storedRank, names, rank }): Pair => {
    const group = targets.get(module) ?? []
    return {
      module: module.path,
      names,
      changes: group,
      rank,
      storedRank,
      rows: module.isTransposed ? module.columns : module.rows,
      columns: module.isTransposed ? module.rows : module.columns,
      shapes: factorShapes(module, storedRank),
      isTransposed: module.isTransposed,
      orientation: 'plain',
      ...(module.kind === 'experts' && { stack: module }),
      gaps: [],
    }
  })
  const { baseModel, taskType } = model
  const isDora = changes.some(({ module }) => module.magnitude !== undefined)
  return { plan, pairs, dropped, config: adapterConfig(plan, { baseModel, taskType, isDora }) }
}

const largestOf = (group: readonly Change[]) => group.reduce((most, { rank }) => Math.max(most, rank), 1)

/** The module that PEFT finds the weight in: of a diffusion model the denoiser's own, which is what PEFT is given. */
function targetOf({ module }: Change, { base, layout, traits }: PeftModel): TargetModule | Dropped {
  const { tensor, shape, kind, label } = module
  const refusal = (reason: string): Dropped => ({ name: label, reason })
  if (base === undefined)
    return module.kind === 'experts' ? refusal('is of a stack of experts; give --base') : module
  const part = layout === undefined ? undefined : partOf(layout, tensor)
  if (part !== undefined && part.kind !== 'denoiser') {
    return refusal('is of another part of the pipeline than the denoiser, and a PEFT folder is of one model')
  }
  const view = kind === 'convolution' ? 'conv' : kind === 'experts' ? 'expert' : 'matrix'
  const found = peftModule(tensor, view, shape, traits, { embeddings: true, experts: true })
  if ('reason' in found) return refusal(`is ${found.reason}`)
  // factors of experts are turned as PEFT takes them
  const isOther = found.isTransposed !== module.isTransposed && kind !== 'linear' && kind !== 'experts'
  if (isOther) return refusal('lies otherwise than PEFT takes it')
  return part === undefined ? found : { ...found, path: part.path.replace(/\.weight$/, '') }
}
