import { readdir, stat } from 'node:fs/promises'
import { adapterOf } from '../adapter/adapter.ts'
import { modelCard } from '../adapter/write/card.ts'
import { planAdapter } from '../adapter/write/plan.ts'
import type { AdapterPlan, PeftModule, PlannedModule } from '../adapter/write/types.ts'
import { openCheckpoint } from '../checkpoint/open.ts'
import { badInput } from '../errors.ts'
import { leadingColumns } from '../matrix/matrix.ts'
import { balancedFactors, type Factors, factorsOf } from '../svd/factors.ts'
import { measureAdapter } from '../verify/verify.ts'
import { writeAdapter, writeText } from './assemble.ts'
import { CARD_FILE, cardFigures, configFacts } from './card.ts'
import type { Surroundings } from './decompose.ts'
import type { ExtractOptions } from './options.ts'
import type { ExtractionPlan } from './plan.ts'
import type { ExtractResult } from './result.ts'
import { type Chosen, chooseRanks } from './rounds.ts'
import type { RunFolder } from './run-folder.ts'
import { resultOf } from './summary.ts'

/** Makes the whole adapter in the run folder's staging folder, and measures what lies there on disk. */
export async function buildAdapter(
  plan: ExtractionPlan,
  options: ExtractOptions,
  folder: RunFolder,
  surroundings: Surroundings,
  start: number,
): Promise<ExtractResult> {
  const chosen = await chooseRanks(plan, options, folder, surroundings)
  const adapterPlan = planOf(plan, options, chosen)
  const { staging } = folder
  await writeAdapter(staging, adapterPlan, plan, configFacts(plan, options, adapterPlan), (planned) =>
    factorsOfModule(planned, plan, chosen, folder, options),
  )

  const written = await openCheckpoint(staging)
  const adapter = await adapterOf(written)
  if (adapter === undefined) throw new Error('what was written is not recognised as an adapter')
  const { request, quiet, terminal, signal } = surroundings
  const measures = await measureAdapter(
    adapter,
    plan.base,
    plan.tuned,
    options,
    request,
    quiet,
    terminal,
    signal,
  )
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

/** The adapter's plan for the ranks that were chosen: of a stack of experts the largest. */
export function planOf(
  { layers, base, traits, saved, dtype }: ExtractionPlan,
  { layout }: ExtractOptions,
  { ranks }: Pick<Chosen, 'ranks'>,
): AdapterPlan {
  const ofModules = new Map<PeftModule, number>()
  for (const [i, { module }] of layers.entries()) {
    ofModules.set(module, Math.max(ranks[i], ofModules.get(module) ?? 0))
  }
  if (ranks.every((rank) => rank === 0)) {
    throw badInput(
      'nothing stands above the rounding of the stored dtypes: there is no adapter to write; the change may be nothing but rounding',
    )
  }
  return planAdapter({ ranks: ofModules, layout, dtype, base: base.tensors, traits, saved })
}

/** The factors of a module, one pair for each of its matrices, each cut to its own rank. */
async function factorsOfModule(
  { module }: PlannedModule,
  { layers }: ExtractionPlan,
  { ranks, rounds }: Chosen,
  folder: RunFolder,
  { distributeScale }: ExtractOptions,
): Promise<Factors[]> {
  const factors: Factors[] = []
  for (const [i, layer] of layers.entries()) {
    if (layer.module !== module) continue
    const { U, V, spectrum } = await folder.read(rounds[i], i)
    const svd = { U: leadingColumns(U, ranks[i]), S: spectrum.singularValues, V: leadingColumns(V, ranks[i]) }
    factors.push(distributeScale ? balancedFactors(svd, ranks[i]) : factorsOf(svd, ranks[i]))
  }
  return factors
}

async function sizesOf(folder: string): Promise<{ name: string; bytes: number }[]> {
  const names = (await readdir(folder)).sort()
  return Promise.all(names.map(async (name) => ({ name, bytes: (await stat(`${folder}/${name}`)).size })))
}

function withBudget({ budget, broken }: ExtractResult, bytes: number): Partial<ExtractResult> {
  if (budget === undefined) return {}
  const isKept = bytes <= budget.bytes
  const promise = { name: 'budget', text: `${bytes} bytes were written, and ${budget.bytes} asked for` }
  const all = isKept ? broken : [...broken, promise]
  return { budget: { ...budget, used: bytes }, broken: all, holds: all.length === 0 }
}
