import { basename, dirname, resolve } from 'node:path'
import { ADAPTER_FOLDER } from '../../checkpoint/folder.ts'
import { gapsOf, type LoaderGap } from '../../convert/convert.ts'
import type { FactorsOf } from '../../convert/factors.ts'
import type { FormatPlan } from '../../convert/target.ts'
import { plannedBytes } from '../../convert/write.ts'
import { putFileInPlace } from '../../io/copy-files.ts'
import { putFolderInPlace } from '../../io/place-folder.ts'
import type { OwnedRun } from '../../io/run-folder.ts'
import { syncFolder } from '../../io/sized-file.ts'
import { patternWarnings } from '../../lora/loaders.ts'
import type { AdapterFormat } from '../../lora/model.ts'
import { elementsPerRank, type TargetModule } from '../../lora/model.ts'
import { modelCard } from '../../lora/write/card.ts'
import { type AdapterPlan, adapterSize, planAdapter } from '../../lora/write/peft.ts'
import { cardFigures, configFacts } from './card.ts'
import type { Destination } from './destination.ts'
import { keptDifference } from './exact.ts'
import type { ExtractSettings } from './options.ts'
import { entriesPerRank, formatPlanAt } from './placing.ts'
import type { ExtractionPlan, PlannedLayer } from './plan.ts'
import type { RankChoice } from './ranks.ts'
import type { PlacedModule } from './result.ts'
import { nothingToCarry } from './sentences.ts'

/** What an adapter's files hold once ranks are known: a folder of PEFT's, or what other formats have in its place. */
export type OutputPlan =
  | { readonly peft: AdapterPlan }
  | { readonly peft?: never; readonly other: FormatPlan }

type Ranked = Pick<RankChoice, 'ranks'> & Partial<RankChoice>

/** The plan for the ranks that were chosen. Throws `bad-input` where none is above 0. `factors` gives those of a change when it is written. */
export function outputPlan(
  plan: ExtractionPlan,
  { layout }: ExtractSettings,
  { ranks, results = [] }: Ranked,
  factors?: FactorsOf,
): OutputPlan {
  const { layers, base, traits, saved, dtype, destination, exact } = plan
  if (ranks.every((rank) => rank === 0)) throw nothingToCarry(results)
  if (destination.format !== 'peft') {
    const placed = { ...plan, wholes: exact.map(keptDifference) }
    return { other: formatPlanAt(placed, layout, ranks, factors) }
  }
  const ofModules = new Map<TargetModule, number>()
  for (const [i, { module }] of layers.entries()) {
    // of a stack of experts the largest
    ofModules.set(module, Math.max(ranks[i], ofModules.get(module) ?? 0))
  }
  return { peft: planAdapter({ ranks: ofModules, layout, dtype, base: base.tensors, traits, saved }) }
}

/** Whether a format is a folder of files; others are one file. */
const isFolder = (format: AdapterFormat) => format === 'peft' || format === 'mlx'

/** Where an adapter is put together: the run folder's staging folder, or in it the file that gets the output's name. */
export const stagedPath = (staging: string, output: string, { format }: Destination): string =>
  isFolder(format) ? staging : `${staging}/${basename(output)}`

/** Gives what is whole in the staging folder its final name. */
export async function place(
  { destination }: Pick<ExtractionPlan, 'destination'>,
  { output, force }: ExtractSettings,
  run: OwnedRun,
): Promise<void> {
  const { staging, replaced, placed } = run
  const path = stagedPath(staging, output, destination)
  await run.markPlaced(path)
  if (isFolder(destination.format)) {
    return putFolderInPlace({ staging, output, replaced, kind: ADAPTER_FOLDER, force, placed })
  }
  await putFileInPlace(path, output, { force: force || placed !== undefined })
  await syncFolder(dirname(resolve(output)))
}

/** The exact size of the adapter that these ranks make. */
export const adapterBytes = (
  plan: ExtractionPlan,
  options: ExtractSettings,
  ranks: readonly number[],
): number => outputBytes(outputPlan(plan, options, { ranks }), plan, options)

function outputBytes(output: OutputPlan, plan: ExtractionPlan, options: ExtractSettings): number {
  if (output.peft === undefined) return plannedBytes(output.other)
  const { peft } = output
  const facts = configFacts(plan, options, peft)
  const card = modelCard(peft, cardFigures(plan, options, peft))
  return adapterSize(peft, plan.inModel, plan.traits, facts, card).total
}

/**
 * Lines of the model card that higher ranks may make go: vLLM's --max-lora-rank, which ends at 512, and that every loader scales
 * alike, which patterns end. llama.cpp's alpha goes where ranks differ, and its tensors begin at multiples of 32 bytes.
 */
export const TEXT_THAT_GOES = 160

/** At least what the adapter takes at these or any higher ranks, were its factors no larger: no patterns, and no word of them. */
export function leastOverhead(
  plan: ExtractionPlan,
  options: ExtractSettings,
  ranks: readonly number[],
): number {
  const output = outputPlan(plan, options, { ranks })
  if (output.peft === undefined) return outputBytes(output, plan, options) - TEXT_THAT_GOES
  const { peft } = output
  const ofPatterns = patternWarnings(peft)
  const plain = {
    ...peft,
    rankPattern: new Map<string, number>(),
    warnings: peft.warnings.filter((warning) => !ofPatterns.includes(warning)),
  }
  return outputBytes({ peft: plain }, plan, options) - TEXT_THAT_GOES
}

/** The entries that a layer's factors gain with each rank, of a stack of experts all of them together. */
export const entriesOf = (plan: ExtractionPlan, layer: PlannedLayer): number =>
  plan.destination.format === 'peft' ? elementsPerRank(layer.module) : entriesPerRank(plan, layer)

/** What is to be told of an output. */
export interface OutputFacts {
  /** Of each weight of the base that factors are written for; the largest of the modules that have rows of it. */
  readonly storedRanks: ReadonlyMap<string, number>
  /** Entries of all factors, padding with them. */
  readonly entries: number
  readonly warnings: readonly string[]
  /** What loaders don't do right with modules. */
  readonly gaps: readonly LoaderGap[]
}

export function outputFacts(output: OutputPlan): OutputFacts {
  const storedRanks = new Map<string, number>()
  const add = ({ tensor }: Pick<TargetModule, 'tensor'>, rank: number) =>
    storedRanks.set(tensor, Math.max(rank, storedRanks.get(tensor) ?? 0))
  if (output.peft !== undefined) {
    const { modules, warnings } = output.peft
    for (const { module, storedRank } of modules) add(module, storedRank)
    const entries = modules.reduce(
      (sum, { module, storedRank }) => sum + elementsPerRank(module) * storedRank,
      0,
    )
    return { storedRanks, entries, warnings, gaps: [] }
  }
  const { pairs, warnings, gguf } = output.other
  for (const { parts, storedRank } of pairs) for (const { change } of parts) add(change.module, storedRank)
  const tensors = gguf?.tensors ?? pairs.flatMap(({ shapes }) => [{ shape: shapes.A }, { shape: shapes.B }])
  const entries = tensors.reduce((sum, { shape }) => sum + shape.reduce((product, n) => product * n, 1), 0)
  return { storedRanks, entries, warnings, gaps: gapsOf(output.other) }
}

/** The modules of formats that call them otherwise than PEFT, which has the model's own names. */
export function placedModules(output: OutputPlan): PlacedModule[] {
  if (output.peft !== undefined) return []
  const { pairs, gguf } = output.other
  const ofGguf = gguf?.tensors.filter(({ name }) => name.endsWith('.lora_b')) ?? []
  return [
    ...pairs.map(({ module, parts }) => ({
      name: module,
      weights: [...new Set(parts.map(({ change }) => change.module.tensor))],
    })),
    ...ofGguf.map(({ name }) => ({ name: name.replace(/\.lora_b$/, ''), weights: [] })),
  ]
}
