import { openCheckpoint } from '../../checkpoint/open.ts'
import { holdingOpen } from '../../checkpoint/read.ts'
import {
  areFactors,
  directionsOf,
  factorsFor,
  type LayerResult,
  plainSpectrum,
} from '../../compress/layer-result.ts'
import { LoraSvdError } from '../../errors.ts'
import { sizesIn } from '../../io/files.ts'
import { writeTextAtomic } from '../../io/write-atomic.ts'
import type { RunContext } from '../../jobs/context.ts'
import type { Factors } from '../../linalg/svd/svd.ts'
import { readFactors } from '../../lora/factors.ts'
import { matchToBase } from '../../lora/match.ts'
import { type Adapter, filesOf, type TargetModule } from '../../lora/model.ts'
import { adapterOf } from '../../lora/read/adapter.ts'
import { modelCard } from '../../lora/write/card.ts'
import { type AdapterMeasures, measureAdapter } from '../../measure/adapter.ts'
import type { Measured } from '../../measure/measure.ts'
import { CARD_FILE, cardFigures, mlxCard } from './card.ts'
import type { ExtractSettings } from './options.ts'
import { folderWith, outputFacts } from './output.ts'
import { type ExtractionPlan, layersByModule } from './plan.ts'
import { chooseRanks, type RankChoice } from './ranks.ts'
import type { ExtractResult } from './result.ts'
import type { RunFolder } from './run-folder.ts'
import { errorsOf, layersOf, notCarriedOf, resultOf } from './summary.ts'
import { writeOutput } from './write.ts'

/**
 * What is known of the layers' errors: of those whose factors were measured when they were made, and that lie on disk with
 * these very numbers. The adapter is read as anyone would read it. By the layers' names.
 */
async function knownMeasures(
  adapter: Adapter,
  { layers, base, traits }: ExtractionPlan,
  { ranks, results }: RankChoice,
): Promise<Map<string, Measured>> {
  const { matched } = matchToBase(adapter, base, traits)
  const modules = new Map(
    matched.filter(({ module }) => module.fit === undefined).map(({ module }) => [module.tensor, module]),
  )
  const known = new Map<string, Measured>()
  for (const [i, { pair, module: planned, expert }] of layers.entries()) {
    const { measured, spectrum, weighed, baseFrobenius } = results[i]
    const rank = ranks[i]
    const module = modules.get(pair.base.tensor)
    if (module === undefined || measured === undefined || measured.rank !== rank) continue
    const { B, A, scale } = await readFactors(module, planned.experts > 1 ? expert : undefined)
    if (scale !== 1 || !areFactors({ B, A }, rank, measured.digest)) continue
    const { residual, plainResidual = residual } = measured
    known.set(pair.name, {
      ...{ delta: plainSpectrum(results[i]).frobenius, residual: plainResidual, base: baseFrobenius },
      ...(weighed !== undefined && { output: { delta: spectrum.frobenius, residual } }),
    })
  }
  return known
}

/** What the adapter leaves of each delta. */
async function measuresOf(
  adapter: Adapter,
  plan: ExtractionPlan,
  { include, exclude }: ExtractSettings,
  choice: RankChoice,
  context: RunContext,
): Promise<AdapterMeasures> {
  const { base, tuned, unchanged, moments } = plan
  // what can't be paired was refused by the plan, or allowed
  const pairing = { include, exclude, allowUnpaired: true, keepsAll: true }
  const known = { measured: await knownMeasures(adapter, plan, choice), unchanged }
  return measureAdapter(adapter, base, tuned, pairing, context, known, moments?.file)
}

/** Makes the whole adapter in the run folder's staging folder, and measures what lies there on disk. */
export async function buildAdapter(
  plan: ExtractionPlan,
  settings: ExtractSettings,
  folder: RunFolder,
  context: RunContext,
  start: number,
): Promise<ExtractResult> {
  const choice = await chooseRanks(plan, settings, folder, context)
  const { staging } = folder
  const matricesOf = layersByModule(plan)
  const factors = (module: TargetModule) => factorsOf(matricesOf.get(module) ?? [], choice, folder, settings)
  const { output, path } = await writeOutput(plan, settings, choice, staging, factors)

  const adapter = await adapterOf(await openCheckpoint(path))
  if (adapter === undefined) {
    const message = `${path}: was changed while it was written; run the same command again`
    throw new LoraSvdError('system', message, { file: path })
  }
  const files = adapter.modules.flatMap(({ product }) => filesOf(product))
  const measures = await holdingOpen(files, () => measuresOf(adapter, plan, settings, choice, context))
  const built = { choice, output: outputFacts(output, plan), measures }
  const layers = layersOf(plan, built)
  const { relativeError } = errorsOf(measures, layers)
  if (output.peft !== undefined) {
    const figures = { layers, notCarried: notCarriedOf(plan, built), relativeError }
    const card = modelCard(output.peft, cardFigures(plan, settings, output.peft, figures))
    await writeTextAtomic(`${path}/${CARD_FILE}`, card, { force: true })
  } else if (output.other.format === 'mlx') {
    const card = mlxCard(plan, settings, output.other.r, relativeError)
    await writeTextAtomic(`${path}/${CARD_FILE}`, card, { force: true })
  }
  return resultOf(plan, settings, built, layers, await sizesIn(folderWith(path, plan.destination)), {
    ...(folder.joined === undefined ? { resumed: folder.found } : { resumed: 0, joined: folder.joined }),
    seconds: (performance.now() - start) / 1000,
  })
}

/** The factors of a module, one pair for each of its matrices, each cut to its own rank. */
async function factorsOf(
  indices: readonly number[],
  { ranks, rounds, results }: RankChoice,
  folder: RunFolder,
  { distributeScale }: ExtractSettings,
): Promise<Factors[]> {
  const factors: Factors[] = []
  for (const i of indices) {
    const result = hasVectors(results[i]) ? results[i] : await folder.read(rounds[i], i)
    factors.push(factorsFor(directionsOf(result), ranks[i], distributeScale))
  }
  return factors
}

const hasVectors = ({ U, spectrum }: LayerResult) => U.columns === spectrum.singularValues.length
