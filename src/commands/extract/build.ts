import { dirname } from 'node:path'
import { ADAPTER_CONFIG_FILE, ADAPTER_FILE } from '../../checkpoint/folder.ts'
import { openCheckpoint } from '../../checkpoint/open.ts'
import { readBytes } from '../../checkpoint/read.ts'
import { areFactors, factorsFor, type LayerResult } from '../../compress/layer-result.ts'
import type { FactorsOf } from '../../convert/factors.ts'
import type { FormatPlan } from '../../convert/target.ts'
import { formatChunks } from '../../convert/write.ts'
import { LoraSvdError } from '../../errors.ts'
import { layoutSafetensors, safetensorsChunks } from '../../formats/safetensors-writer.ts'
import { makeFolder, sizesIn } from '../../io/files.ts'
import { writeFileAtomic, writeTextAtomic } from '../../io/write-atomic.ts'
import type { RunContext } from '../../jobs/context.ts'
import type { Factors } from '../../linalg/svd/svd.ts'
import { readFactors } from '../../lora/factors.ts'
import { matchToBase } from '../../lora/match.ts'
import type { Adapter } from '../../lora/model.ts'
import { adapterOf } from '../../lora/read/adapter.ts'
import { modelCard } from '../../lora/write/card.ts'
import { adapterConfig, type ConfigFacts } from '../../lora/write/config.ts'
import { encodeFactors, zeroFactors } from '../../lora/write/encode.ts'
import type { AdapterPlan, PlannedModule } from '../../lora/write/peft.ts'
import { ADAPTER_METADATA, plannedTensors } from '../../lora/write/peft.ts'
import { measureAdapter } from '../../measure/adapter.ts'
import type { Measured } from '../../measure/measure.ts'
import { CARD_FILE, cardFigures, configFacts } from './card.ts'
import type { ExtractSettings } from './options.ts'
import { outputFacts, outputPlan, stagedPath } from './output.ts'
import { changeKey, layerKey } from './placing.ts'
import { type ExtractionPlan, layersByModule } from './plan.ts'
import { chooseRanks, type RankChoice } from './ranks.ts'
import type { ExtractResult } from './result.ts'
import type { RunFolder } from './run-folder.ts'
import { errorsOf, layersOf, notCarriedOf, resultOf } from './summary.ts'

/**
 * Writes adapter_model.safetensors and adapter_config.json into a new `folder`. `factorsOf` gives the factors of a
 * module, one pair for each of its matrices, when their turn comes: those of one module are held at a time.
 */
async function writeAdapter(
  folder: string,
  plan: AdapterPlan,
  { inModel, traits }: ExtractionPlan,
  facts: ConfigFacts,
  factorsOf: (module: PlannedModule) => Promise<readonly Factors[]>,
): Promise<void> {
  await makeFolder(folder)
  const encoded = lastOne(async (planned: PlannedModule) => {
    const { module, rank, storedRank } = planned
    const factors = rank === 0 ? zeroFactors(module) : await factorsOf(planned)
    return encodeFactors(module, factors, storedRank, plan.dtype)
  })
  const tensors = plannedTensors(plan, inModel, traits).map(({ content, ...tensor }) => ({
    ...tensor,
    data: async () =>
      content.planned === undefined
        ? readBytes(inModel.get(content.tensor)!)
        : (await encoded(content.planned))[content.side],
  }))
  const layout = layoutSafetensors(tensors, ADAPTER_METADATA)
  // by a rename alone: after a link the temporary name would stay in the adapter where it can't be removed
  await writeFileAtomic(`${folder}/${ADAPTER_FILE}`, safetensorsChunks(layout), { force: true })
  await writeTextAtomic(`${folder}/${ADAPTER_CONFIG_FILE}`, adapterConfig(plan, facts), { force: true })
}

/** Remembers the last result: the two tensors of a module follow each other in the file. */
function lastOne<K, V>(compute: (key: K) => Promise<V>): (key: K) => Promise<V> {
  let last: { readonly key: K; readonly value: Promise<V> } | undefined
  return (key) => {
    if (last?.key !== key) last = { key, value: compute(key) }
    return last.value
  }
}

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
    const { measured, spectrum, baseFrobenius } = results[i]
    const rank = ranks[i]
    const module = modules.get(pair.base.tensor)
    if (module === undefined || measured === undefined || measured.rank !== rank) continue
    const { B, A, scale } = await readFactors(module, planned.experts > 1 ? expert : undefined)
    if (scale !== 1 || !areFactors({ B, A }, rank, measured.digest)) continue
    known.set(pair.name, { delta: spectrum.frobenius, residual: measured.residual, base: baseFrobenius })
  }
  return known
}

/** An adapter under the names of other tools, in a new folder: a file, or a folder's files. */
async function writeOther(path: string, plan: FormatPlan, factors: FactorsOf): Promise<void> {
  const { tensorFile, texts } = plan
  const file = tensorFile === undefined ? path : `${path}/${tensorFile}`
  await makeFolder(dirname(file))
  await writeFileAtomic(file, formatChunks(plan, factors), { force: true })
  for (const [name, text] of texts) await writeTextAtomic(`${path}/${name}`, text, { force: true })
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
  const ofLayers = (indices: readonly number[]) => factorsOf(indices, choice, folder, settings)
  const layerOf = new Map(plan.layers.map((layer, i) => [layerKey(layer), i]))
  const factors: FactorsOf = async (change) => (await ofLayers([layerOf.get(changeKey(change))!]))[0]
  const output = outputPlan(plan, settings, choice, factors)
  const path = stagedPath(staging, settings.output, plan.destination)
  if (output.peft === undefined) await writeOther(path, output.other, factors)
  else {
    const matricesOf = layersByModule(plan)
    await writeAdapter(path, output.peft, plan, configFacts(plan, settings, output.peft), ({ module }) =>
      ofLayers(matricesOf.get(module) ?? []),
    )
  }

  const adapter = await adapterOf(await openCheckpoint(path))
  if (adapter === undefined) {
    const message = `${path}: was changed while it was written; run the same command again`
    throw new LoraSvdError('system', message, { file: path })
  }
  // what can't be paired was refused by the plan, or allowed
  const pairing = {
    include: settings.include,
    exclude: settings.exclude,
    allowUnpaired: true,
    keepsAll: true,
  }
  const known = { measured: await knownMeasures(adapter, plan, choice), unchanged: plan.unchanged }
  const measures = await measureAdapter(adapter, plan.base, plan.tuned, pairing, context, known)
  const built = { choice, output: outputFacts(output), measures }
  const layers = layersOf(plan, built)
  if (output.peft !== undefined) {
    const { relativeError } = errorsOf(measures, layers)
    const figures = { layers, notCarried: notCarriedOf(plan, built), relativeError }
    const card = modelCard(output.peft, cardFigures(plan, settings, output.peft, figures))
    await writeTextAtomic(`${path}/${CARD_FILE}`, card, { force: true })
  }
  return resultOf(plan, settings, built, layers, await sizesIn(staging), {
    resumed: folder.found,
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
    const { U, V, spectrum } = hasVectors(results[i]) ? results[i] : await folder.read(rounds[i], i)
    factors.push(factorsFor({ U, S: spectrum.singularValues, V }, ranks[i], distributeScale))
  }
  return factors
}

const hasVectors = ({ U, spectrum }: LayerResult) => U.columns === spectrum.singularValues.length
