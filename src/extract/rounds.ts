import type { Watch } from '../report/watched-jobs.ts'
import type { Spectrum } from '../spectrum/types.ts'
import { budgetPlan } from './budget.ts'
import type { BudgetPlan } from './budget-plan.ts'
import { decompose } from './decompose.ts'
import type { LayerResult } from './layer-result.ts'
import type { ExtractOptions } from './options.ts'
import type { ExtractionPlan } from './plan.ts'
import { type Decision, firstAsk, ownRank, uniformRanks } from './ranks.ts'
import type { BudgetSpent } from './result.ts'
import type { RunFolder } from './run-folder.ts'

/** The rank of every layer, with what is known of it. */
export interface Chosen {
  readonly ranks: readonly number[]
  /** With or without their vectors. */
  readonly results: readonly LayerResult[]
  /** The last round that asked for each layer: where its triplets are. */
  readonly rounds: readonly number[]
  readonly budget?: BudgetSpent
}

/** Decomposes the layers in as many rounds as the rule needs to tell every rank. */
export async function chooseRanks(
  plan: ExtractionPlan,
  options: ExtractOptions,
  folder: RunFolder,
  watch: Watch,
): Promise<Chosen> {
  const { rule, limits } = options
  const budget = rule.kind === 'budget' ? budgetPlan(plan, options, rule.bytes) : undefined
  const first = plan.layers.map((_, i) => firstAsk(rule, limits, budget?.firstRanks[i] ?? 1))
  const found = await decompose(plan, options, folder, 1, first, watch)
  const rounds = plan.layers.map(() => 1)
  const results = plan.layers.map((_, index) => found.get(index)!)
  for (let round = 2; ; round++) {
    const decision = decide(
      results.map(({ spectrum }) => spectrum),
      options,
      budget,
    )
    if ('ranks' in decision) {
      const spent = budget?.spent(
        decision.ranks,
        results.map(({ spectrum }) => spectrum),
      )
      return { ranks: decision.ranks, results, rounds, ...(spent !== undefined && { budget: spent }) }
    }
    // what an earlier run decided is what it has begun to compute
    const asks = await folder.asksOf(round, () => decision.asks)
    for (const [index, result] of await decompose(plan, options, folder, round, asks, watch)) {
      rounds[index] = round
      results[index] = result
    }
  }
}

function decide(
  spectra: readonly Spectrum[],
  { rule, limits, uniform }: ExtractOptions,
  budget: BudgetPlan | undefined,
): Decision {
  if (budget !== undefined) return budget.decide(spectra)
  const own = spectra.map((spectrum) => ownRank(spectrum, rule, limits))
  return uniform ? uniformRanks(spectra, own, limits) : { ranks: own }
}
