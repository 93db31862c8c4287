import { basename, dirname, resolve } from 'node:path'
import { ADAPTER_FOLDER } from '../../checkpoint/folder.ts'
import type { Checkpoint } from '../../checkpoint/types.ts'
import { gapsOf, type LoaderGap } from '../../convert/convert.ts'
import type { FormatPlan } from '../../convert/target.ts'
import { plannedBytes } from '../../convert/write.ts'
import { putFileInPlace } from '../../io/copy-files.ts'
import { putFolderInPlace } from '../../io/place-folder.ts'
import type { OwnedRun } from '../../io/run-folder.ts'
import { syncFolder } from '../../io/sized-file.ts'
import { patternWarnings } from '../../lora/loaders/plan-warnings.ts'
import type { AdapterFormat } from '../../lora/model.ts'
import { elementsPerRank } from '../../lora/model.ts'
import { modelCard } from '../../lora/write/card.ts'
import { type AdapterPlan, adapterSize, planAdapter } from '../../lora/write/peft.ts'
import { CARD_FILE, cardFigures, configFacts, mlxCard } from './card.ts'
import type { Destination } from './destination.ts'
import { exactGaps, keptDifference } from './exact.ts'
import type { ExtractSettings } from './options.ts'
import { rankedModules } from './own-names.ts'
import { entriesPerRank, formatPlanAt, formatPlanOf, weightsOf } from './placing.ts'
import type { ExtractionPlan, PlannedLayer } from './plan.ts'
import type { RankChoice } from './ranks.ts'
import type { PlacedModule } from './result.ts'
import { nothingToCarry } from './sentences.ts'

/** What an adapter's files hold once ranks are known: a folder of PEFT's, or what other formats have in its place. */
export type OutputPlan =
  | { readonly peft: AdapterPlan }
  | { readonly peft?: never; readonly other: FormatPlan }

type Ranked = Pick<RankChoice, 'ranks'> & Partial<RankChoice>

/** The plan for the ranks that were chosen. Throws `bad-input` where none is above 0. */
export function outputPlan(
  plan: ExtractionPlan,
  settings: ExtractSettings,
  { ranks, results = [] }: Ranked,
): OutputPlan {
  const { layers, base, traits, saved, dtype, destination } = plan
  if (ranks.every((rank) => rank === 0)) throw nothingToCarry(results)
  const { layout } = settings
  if (destination.format !== 'peft')
    return { other: withCard(formatPlanAt(placedOf(plan), layout, ranks), plan, settings) }
  const ofModules = new Map(rankedModules(layers, ranks).map(({ module, rank }) => [module, rank]))
  return { peft: planAdapter({ ranks: ofModules, layout, dtype, base: base.tensors, traits, saved }) }
}

/** The same plan of another format than PEFT's, with the factors that it is made of. */
export const otherPlan = (
  plan: ExtractionPlan,
  settings: ExtractSettings,
  { ranks }: Ranked,
  factors: Checkpoint,
): FormatPlan => withCard(formatPlanOf(placedOf(plan), settings.layout, ranks, factors), plan, settings)

/** The plan of a folder with its card, yet without figures. */
function withCard(other: FormatPlan, plan: ExtractionPlan, settings: ExtractSettings): FormatPlan {
  if (other.format !== 'mlx') return other
  return { ...other, texts: new Map(other.texts).set(CARD_FILE, mlxCard(plan, settings, other.r)) }
}

const placedOf = (plan: ExtractionPlan) => ({ ...plan, wholes: plan.exact.map(keptDifference) })

/** Whether a format is a folder of files; others are one file. */
const isFolder = (format: AdapterFormat) => format === 'peft' || format === 'mlx'

/** In the run folder's staging folder: what an adapter of another format than PEFT's is made of, and where it is put together. */
const FACTORS = 'factors.safetensors'
const RESULT = 'result'

export const factorsPath = (staging: string) => `${staging}/${FACTORS}`

/** Where an adapter is put together: the folder, or the file, that gets the output's name. */
export function stagedPath(staging: string, output: string, { format }: Destination): string {
  if (format === 'peft') return staging
  return isFolder(format) ? `${staging}/${RESULT}` : `${staging}/${RESULT}/${basename(output)}`
}

/** The folder whose files are those of the result. */
export const folderWith = (path: string, { format }: Destination): string =>
  isFolder(format) ? path : dirname(path)

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
    return putFolderInPlace({ staging: path, output, replaced, kind: ADAPTER_FOLDER, force, placed })
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
  plan.destination.format === 'peft' ? elementsPerRank(layer.module) : entriesPerRank(plan.drafts, layer)

/** What is to be told of an output. */
export interface OutputFacts {
  /** Of each weight of the base that factors are written for; the largest of the modules that have rows of it. */
  readonly storedRanks: ReadonlyMap<string, number>
  /** Entries of all factors, padding with them. */
  readonly entries: number
  /** Those that are no padding, where modules of the format aren't the layers themselves. */
  readonly filled?: number
  readonly warnings: readonly string[]
  /** What loaders don't do right with modules. */
  readonly gaps: readonly LoaderGap[]
}

export function outputFacts(
  output: OutputPlan,
  { exact, destination }: Pick<ExtractionPlan, 'exact' | 'destination'>,
): OutputFacts {
  const storedRanks = new Map<string, number>()
  const add = (tensor: string, rank: number) =>
    storedRanks.set(tensor, Math.max(rank, storedRanks.get(tensor) ?? 0))
  if (output.peft !== undefined) {
    const { modules, warnings } = output.peft
    for (const { module, storedRank } of modules) add(module.tensor, storedRank)
    const entries = modules.reduce(
      (sum, { module, storedRank }) => sum + elementsPerRank(module) * storedRank,
      0,
    )
    return { storedRanks, entries, warnings, gaps: [] }
  }
  const { pairs, warnings, gguf } = output.other
  for (const { changes, storedRank } of pairs) {
    for (const tensor of changes.flatMap(weightsOf)) add(tensor, storedRank)
  }
  const tensors = gguf?.tensors ?? pairs.flatMap(({ shapes }) => [{ shape: shapes.A }, { shape: shapes.B }])
  const entries = tensors.reduce((sum, { shape }) => sum + shape.reduce((product, n) => product * n, 1), 0)
  const ofPairs = pairs.reduce((sum, { rank, rows, columns }) => sum + rank * (rows + columns), 0)
  const gaps = [...gapsOf(output.other), ...exactGaps(exact, destination.layouts)]
  return { storedRanks, entries, filled: gguf === undefined ? ofPairs : entries, warnings, gaps }
}

/** The modules of formats that call them otherwise than PEFT, which has the model's own names. */
export function placedModules(output: OutputPlan): PlacedModule[] {
  if (output.peft !== undefined) return []
  const { pairs, gguf } = output.other
  const ofGguf = gguf?.tensors.filter(({ name }) => name.endsWith('.lora_b')) ?? []
  return [
    ...pairs.map(({ module, changes }) => ({ name: module, weights: changes.flatMap(weightsOf) })),
    ...ofGguf.map(({ name }) => ({ name: name.replace(/\.lora_b$/, ''), weights: [] })),
  ]
}
