import { readdir, stat } from 'node:fs/promises'
import { adapterOf } from '../adapter/adapter.ts'
import { modelCard } from '../adapter/write/card.ts'
import { openCheckpoint } from '../checkpoint/open.ts'
import { LoraSvdError } from '../errors.ts'
import { osError } from '../formats/os-error.ts'
import type { Watch } from '../report/watched-jobs.ts'
import type { Factors } from '../svd/factors.ts'
import { measureAdapter } from '../verify/verify.ts'
import { planOf } from './adapter-plan.ts'
import { writeAdapter, writeText } from './assemble.ts'
import { CARD_FILE, cardFigures, configFacts } from './card.ts'
import { knownMeasures } from './known-measures.ts'
import type { LayerResult } from './layer-result.ts'
import type { ExtractOptions } from './options.ts'
import { type ExtractionPlan, layersByModule } from './plan.ts'
import type { ExtractResult } from './result.ts'
import { type Chosen, chooseRanks } from './rounds.ts'
import type { RunFolder } from './run-folder.ts'
import { factorsFor } from './stored-factors.ts'
import { resultOf } from './summary.ts'

/** Makes the whole adapter in the run folder's staging folder, and measures what lies there on disk. */
export async function buildAdapter(
  plan: ExtractionPlan,
  options: ExtractOptions,
  folder: RunFolder,
  watch: Watch,
  start: number,
): Promise<ExtractResult> {
  const chosen = await chooseRanks(plan, options, folder, watch)
  const adapterPlan = planOf(plan, options, chosen)
  const { staging } = folder
  const matricesOf = layersByModule(plan)
  await writeAdapter(staging, adapterPlan, plan, configFacts(plan, options, adapterPlan), (planned) =>
    factorsOf(matricesOf.get(planned.module) ?? [], chosen, folder, options),
  )

  const written = await openCheckpoint(staging)
  const adapter = await adapterOf(written)
  if (adapter === undefined) {
    const message = `${staging}: was changed while it was written; run the same command again`
    throw new LoraSvdError('system', message, { file: staging })
  }
  // what can't be paired was refused by the plan, or allowed
  const pairing = { include: options.include, exclude: options.exclude, allowUnpaired: true, keepsAll: true }
  const known = await knownMeasures(adapter, plan, chosen)
  const measures = await measureAdapter(adapter, plan.base, plan.tuned, pairing, watch, known)
  const result = resultOf(plan, options, chosen, adapterPlan, measures)
  await writeText(
    `${staging}/${CARD_FILE}`,
    modelCard(adapterPlan, cardFigures(plan, options, adapterPlan, result)),
  )
  const files = await sizesOf(staging)
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  return {
    ...result,
    totals: { ...result.totals, bytesWritten: bytes },
    ...withBudget(result, bytes),
    output: { path: options.output, format: 'peft', bytes, files: files.map(({ name }) => name) },
    resumed: folder.found,
    seconds: (performance.now() - start) / 1000,
  }
}

/** The factors of a module, one pair for each of its matrices, each cut to its own rank. */
async function factorsOf(
  indices: readonly number[],
  { ranks, rounds, results }: Chosen,
  folder: RunFolder,
  { distributeScale }: ExtractOptions,
): Promise<Factors[]> {
  const factors: Factors[] = []
  for (const i of indices) {
    const { U, V, spectrum } = hasVectors(results[i]) ? results[i] : await folder.read(rounds[i], i)
    factors.push(factorsFor({ U, S: spectrum.singularValues, V }, ranks[i], distributeScale))
  }
  return factors
}

const hasVectors = ({ U, spectrum }: LayerResult) => U.columns === spectrum.singularValues.length

async function sizesOf(folder: string): Promise<{ name: string; bytes: number }[]> {
  try {
    const names = (await readdir(folder)).sort()
    return await Promise.all(
      names.map(async (name) => ({ name, bytes: (await stat(`${folder}/${name}`)).size })),
    )
  } catch (error) {
    throw osError(error, 'look at what was written', folder)
  }
}

function withBudget({ budget, broken, totals }: ExtractResult, bytes: number): Partial<ExtractResult> {
  if (budget === undefined) return {}
  const isKept = bytes <= budget.bytes
  const promise = { name: 'budget', text: `${bytes} bytes were written, and ${budget.bytes} asked for` }
  const all = isKept ? broken : [...broken, promise]
  return {
    budget: { ...budget, used: bytes },
    broken: all,
    holds: all.length === 0 && totals.unmatched === 0,
  }
}
