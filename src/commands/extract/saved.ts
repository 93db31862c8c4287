import type { ModelPairing } from '../../checkpoint/models.ts'
import type { StoredTensor } from '../../checkpoint/types.ts'
import { badInput } from '../../errors.ts'
import { type ModelTraits, ownerOfPath } from '../../lora/traits.ts'
import { savedModules } from '../../lora/write/targets.ts'
import { compareNatural, didYouMean } from '../../text/compare.ts'
import { quoted } from '../../text/quote.ts'
import { isAside } from './destination.ts'
import type { ExtractSettings } from './options.ts'
import type { LeftOut, PlannedLayer } from './plan.ts'

/** Whether a tensor belongs to a module that --save-full names: by its path or the end of it, in either model's words. */
export function wholeTest(
  saveFull: readonly string[],
  { tuned: { path, tensors }, nameInBase }: ModelPairing,
): (tensor: string) => boolean {
  const ends = (path: string, module: string) => path === module || path.endsWith(`.${module}`)
  const isOf = (module: string) => (tensor: string) =>
    ends(ownerOfPath(tensor), module) || ends(ownerOfPath(nameInBase(tensor)), module)
  const names = [...tensors.keys()]
  for (const module of saveFull) {
    if (!names.some(isOf(module))) {
      const owners = new Set(names.map(ownerOfPath))
      throw badInput(
        `${path}: --save-full ${quoted(module)}: there is no such module${didYouMean(module, owners)}`,
        { file: path },
      )
    }
  }
  return (tensor) => saveFull.some((module) => isOf(module)(tensor))
}

export interface Carrying {
  readonly layers: readonly PlannedLayer[]
  readonly isAskedWhole: (tensor: string) => boolean
  readonly pairing: ModelPairing
  readonly inModel: ReadonlyMap<string, StoredTensor>
  readonly traits: ModelTraits
}

/** What is stored whole, by the names that PEFT has for it, and what of the rest stays left out. */
export function chooseSaved(
  left: readonly LeftOut[],
  { layers, isAskedWhole, pairing: { nameInBase }, inModel, traits }: Carrying,
  { carryRest }: ExtractSettings,
) {
  const wanted = left.filter(
    ({ name, tuned: inTuned, because }) =>
      inTuned !== undefined && !isAside(because) && (carryRest || isAskedWhole(name)),
  )
  const factored = new Set(layers.map(({ module }) => module.path))
  const { saved, notCarried } = savedModules(
    wanted.map(({ name }) => nameInBase(name)),
    [...inModel.keys()].sort(compareNatural),
    factored,
    traits,
  )
  const carried = new Set(saved.flatMap(({ tensors }) => tensors).map((name) => inModel.get(name)!.name))
  const refused = new Map(notCarried.map(({ name, reason }) => [inModel.get(name)!.name, reason]))
  return {
    saved,
    notCarried: left
      .filter(({ name, tuned: inTuned }) => inTuned === undefined || !carried.has(name))
      .map((one) => (refused.has(one.name) ? { ...one, notWhole: refused.get(one.name)! } : one)),
  }
}
