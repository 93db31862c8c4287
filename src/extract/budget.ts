import { badInput } from '../errors.ts'
import { withinLimits } from '../rank/rules.ts'
import { bytes as byteText } from '../report/numbers.ts'
import type { Spectrum } from '../spectrum/types.ts'
import type { ExtractOptions } from './options.ts'
import type { ExtractionPlan } from './plan.ts'
import { adapterBytes } from './preview.ts'
import { type Decision, ownRanks } from './ranks.ts'
import type { BudgetSpent } from './result.ts'

/** How a byte budget is spent. */
export interface BudgetPlan {
  /** What the first round asks of each layer. */
  readonly firstRanks: readonly number[]
  decide(spectra: readonly Spectrum[]): Decision
  spent(ranks: readonly number[], spectra: readonly Spectrum[]): BudgetSpent
}

/** The plan for spending `budget` bytes on the whole output. Throws `bad-input` where rank 1 takes more. */
export function budgetPlan(plan: ExtractionPlan, options: ExtractOptions, budget: number): BudgetPlan {
  return portableBudget(plan, options, budget)
}

/** Padding makes all ranks cost as much as the largest, so that the best is the largest rank of all that fits. */
function portableBudget(plan: ExtractionPlan, options: ExtractOptions, budget: number): BudgetPlan {
  const orders = plan.layers.map(({ pair: { tuned } }) => Math.min(tuned.rows, tuned.columns))
  const ranksAt = (r: number) => orders.map((order) => withinLimits(r, order, options.limits))
  const sizeAt = (r: number) => adapterBytes(plan, options, ranksAt(r))
  const least = sizeAt(1)
  if (least > budget) {
    const rank = Math.max(...ranksAt(1))
    throw badInput(
      `--budget ${byteText(budget)}: at rank ${rank} the adapter takes ${byteText(least)} already; give that much, or leave tensors out with --exclude`,
    )
  }
  let [fits, tooMuch] = [1, Math.max(...orders) + 1]
  while (tooMuch - fits > 1) {
    const middle = (fits + tooMuch) >> 1
    if (sizeAt(middle) <= budget) fits = middle
    else tooMuch = middle
  }
  return {
    firstRanks: ranksAt(fits),
    decide: (spectra) => ({ ranks: ownRanks(spectra, options.rule, options.limits) }),
    spent(ranks, spectra) {
      const used = adapterBytes(plan, options, ranks)
      const total = spectra.reduce((sum, { frobenius }) => sum + frobenius ** 2, 0)
      const next = spectra.reduce((sum, { next: { atMost } }) => sum + atMost ** 2, 0)
      const step = Math.max(1, sizeAt(fits + 1) - sizeAt(fits))
      return { bytes: budget, used, couldGain: total > 0 ? ((budget - used) / step) * (next / total) : 0 }
    },
  }
}
