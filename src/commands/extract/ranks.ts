import { rangesOf } from '../../checkpoint/near.ts'
import { extractLayer } from '../../compress/layer.ts'
import { bytesOf, flopsOf, type LayerJob } from '../../compress/layer-job.ts'
import {
  type LayerResult,
  ownRank,
  type RankRequest,
  rankRequest,
  withoutVectors,
} from '../../compress/layer-result.ts'
import { withSeveral } from '../../io/several.ts'
import { doJobsAsDone, type RunContext } from '../../jobs/context.ts'
import { orderOf } from '../../linalg/spectrum/measures.ts'
import { type AskedRule, type RankLimits, withinLimits } from '../../linalg/spectrum/rules.ts'
import type { Spectrum } from '../../linalg/spectrum/spectrum.ts'
import { counted } from '../../text/quote.ts'
import type { BudgetPlan } from './budget.ts'
import { budgetPlan } from './budget.ts'
import { comparableSpectra } from './moments.ts'
import type { ExtractSettings } from './options.ts'
import type { ExtractionPlan } from './plan.ts'
import type { BudgetSpent } from './result.ts'
import type { RunFolder } from './run-folder.ts'

/** How many ranks a layer gets, or what still has to be known of which layers to tell. */
export type Decision =
  | { readonly ranks: readonly number[] }
  | { readonly asks: readonly (RankRequest | null)[] }

/** What the first round asks of every layer. `budgetRank` is what a byte budget begins with. */
export function firstRequest(rule: AskedRule, limits: RankLimits, budgetRank: number): RankRequest {
  return rule.kind === 'budget' ? rankRequest(budgetRank) : { rule, limits }
}

/** Every layer gets the largest rank of any; the layers of which too little is known are asked again. */
export function uniformRanks(
  spectra: readonly Spectrum[],
  ranks: readonly number[],
  limits: RankLimits,
): Decision {
  const most = Math.max(0, ...ranks)
  const wanted = spectra.map((spectrum) =>
    spectrum.frobenius === 0 || most === 0
      ? 0
      : withinLimits(most, orderOf(spectrum), { ...limits, minRank: 1 }),
  )
  const asks = spectra.map(({ singularValues }, i) =>
    singularValues.length < wanted[i] ? rankRequest(wanted[i]) : null,
  )
  return asks.some((ask) => ask !== null) ? { asks } : { ranks: wanted }
}

/** Vectors of all layers that are kept rather than read again: what a model of any size takes beside the matrices in work. */
const KEPT_BYTES = 32 * 2 ** 20

/** Layers that are written at once: of a shard, flushing a small one to the disk takes as long as computing the next. */
const WRITTEN_AT_ONCE = 4

/** What a worker is asked of a layer. */
const layerJob = (
  { layers, base, tuned, dtype, moments }: ExtractionPlan,
  options: ExtractSettings,
  index: number,
  ask: RankRequest,
): LayerJob => ({
  pair: layers[index].pair,
  ask,
  certify: options.certify,
  seed: options.seed,
  form: { distributeScale: options.distributeScale, dtype },
  isSettled: options.rule.kind !== 'budget' && !options.uniform,
  ...(moments?.ofLayers[index] !== undefined && { moments: moments.ofLayers[index] }),
  basePath: base.path,
  tunedPath: tuned.path,
})

/** What each layer costs, in the measure by which work is shared out; null where nothing is asked. */
export const costsOf = (
  plan: ExtractionPlan,
  options: ExtractSettings,
  asks: readonly (RankRequest | null)[],
): (number | null)[] =>
  asks.map((ask, index) => (ask === null ? null : flopsOf(layerJob(plan, options, index, ask))))

/**
 * Computes what a round asks of each layer (null: nothing) and isn't in the run folder yet, and puts it there. Gives the results
 * of all that the round asked, by their index; with their vectors as far as `KEPT_BYTES` goes.
 */
export async function decompose(
  plan: ExtractionPlan,
  options: ExtractSettings,
  folder: RunFolder,
  round: number,
  asks: readonly (RankRequest | null)[],
  context: RunContext,
): Promise<Map<number, LayerResult>> {
  const all = asks.flatMap((ask, index) =>
    ask === null ? [] : [{ index, job: layerJob(plan, options, index, ask) }],
  )
  const done = new Map<number, LayerResult>()
  for (const { index, job } of all) {
    const found = folder.find(round, index, job.ask)
    if (found !== undefined) done.set(index, found)
  }
  const missing = all.filter(({ index }) => !done.has(index))
  const results = doJobsAsDone(
    missing.map(({ job }) => job),
    {
      kind: 'extract',
      work: extractLayer,
      flopsOf,
      bytesOf,
      nameOf: ({ pair }) => pair.name,
      readsOf: ({ pair }) => rangesOf([pair.base, pair.tuned]),
      task: { phase: round === 1 ? 'extracting' : 'extending', noun: 'layers', unit: 'flops' },
      planFor: all.map(({ job }) => job),
    },
    context,
  )
  let kept = 0
  // written as they come, so that a kill loses only what is in work or being written
  await withSeveral(WRITTEN_AT_ONCE, async (start) => {
    for await (const { index: at, result } of results) {
      const { index } = missing[at]
      await start(() => folder.write(round, index, result))
      kept += result.U.data.byteLength + result.V.data.byteLength
      done.set(index, kept <= KEPT_BYTES ? result : withoutVectors(result))
    }
  })
  return done
}

/** The rank of every layer, with what is known of it. */
export interface RankChoice {
  readonly ranks: readonly number[]
  /** With or without their vectors. */
  readonly results: readonly LayerResult[]
  /** The last round that asked for each layer: where its triplets are. */
  readonly rounds: readonly number[]
  readonly budget?: BudgetSpent
}

/** What the first round asks of each layer, and what a byte budget is then spent by. */
export function firstRound(plan: ExtractionPlan, options: ExtractSettings) {
  const { rule, limits } = options
  const budget = rule.kind === 'budget' ? budgetPlan(plan, options, rule.bytes) : undefined
  const first = plan.layers.map((_, i) => firstRequest(rule, limits, budget?.firstRanks[i] ?? 1))
  return { budget, first }
}

/** Whether it may take what all layers are found to be to know what else to ask of some. */
export const mayTakeRounds = ({ rule, uniform, layout }: ExtractSettings): boolean =>
  rule.kind === 'budget' ? layout === 'pattern' : uniform

/** Decomposes the layers in as many rounds as the rule needs to tell every rank. */
export async function chooseRanks(
  plan: ExtractionPlan,
  options: ExtractSettings,
  folder: RunFolder,
  context: RunContext,
): Promise<RankChoice> {
  const { budget, first } = firstRound(plan, options)
  const found = await decompose(plan, options, folder, 1, first, context)
  const rounds = plan.layers.map(() => 1)
  const results = plan.layers.map((_, index) => found.get(index)!)
  for (let round = 2; ; round++) {
    const spectra = comparableSpectra(results)
    const decision = decide(spectra, options, budget)
    if ('ranks' in decision) {
      const spent = budget?.spent(decision.ranks, spectra)
      return { ranks: decision.ranks, results, rounds, ...(spent !== undefined && { budget: spent }) }
    }
    // what an earlier run decided is what it has begun to compute
    const asks = await folder.asksOf(round, () => decision.asks)
    if (folder.joined !== undefined) tellMissing(folder, round, asks, context)
    for (const [index, result] of await decompose(plan, options, folder, round, asks, context)) {
      rounds[index] = round
      results[index] = result
    }
  }
}

/** Says that a join computes what no shard has. */
function tellMissing(
  folder: RunFolder,
  round: number,
  asks: readonly (RankRequest | null)[],
  { notice }: RunContext,
): void {
  const missing = asks.filter((ask, i) => ask !== null && folder.find(round, i, ask) === undefined).length
  if (missing === 0) return
  notice(
    `round ${round}: ${counted(missing, 'layer')} asked for at a higher rank, which no shard has computed: computed here`,
  )
}

/** The ranks, or what is asked next, by the spectra of all layers. */
export function decide(
  spectra: readonly Spectrum[],
  { rule, limits, uniform }: ExtractSettings,
  budget: BudgetPlan | undefined,
): Decision {
  if (budget !== undefined) return budget.decide(spectra)
  const own = spectra.map((spectrum) => ownRank(spectrum, rule, limits))
  return uniform ? uniformRanks(spectra, own, limits) : { ranks: own }
}
