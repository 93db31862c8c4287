import { withinLimits } from '../rank/rules.ts'
import { adapterBytes, CARD_LINES_THAT_GO } from './adapter-plan.ts'
import { type BudgetPlan, leftBy, tooSmall } from './budget-plan.ts'
import type { ExtractOptions } from './options.ts'
import { patternBudget } from './pattern-budget.ts'
import type { ExtractionPlan } from './plan.ts'
import { ownRank } from './ranks.ts'

/** The plan for spending `budget` bytes on the whole output. Throws `bad-input` where the least ranks take more. */
export function budgetPlan(plan: ExtractionPlan, options: ExtractOptions, budget: number): BudgetPlan {
  return options.layout === 'portable'
    ? portableBudget(plan, options, budget)
    : patternBudget(plan, options, budget)
}

/** Padding makes all ranks cost as much as the largest, so that the best is the largest rank of all that fits. */
function portableBudget(plan: ExtractionPlan, options: ExtractOptions, budget: number): BudgetPlan {
  const orders = plan.layers.map(({ pair: { tuned } }) => Math.min(tuned.rows, tuned.columns))
  const ranksAt = (r: number) => orders.map((order) => withinLimits(r, order, options.limits))
  const sizeAt = (r: number) => adapterBytes(plan, options, ranksAt(r))
  const least = sizeAt(1)
  if (least > budget) throw tooSmall(budget, least)
  const highest = Math.max(...orders)
  let [fits, tooMuch] = [1, highest + 1]
  while (tooMuch - fits > 1) {
    const middle = (fits + tooMuch) >> 1
    if (sizeAt(middle) <= budget) fits = middle
    else tooMuch = middle
  }
  // a line of the card that goes may pay for a few ranks more
  const last = Math.min(highest, fits + CARD_LINES_THAT_GO)
  for (let r = fits + 1; r <= last && sizeAt(r) <= budget + CARD_LINES_THAT_GO; r++) {
    if (sizeAt(r) <= budget) fits = r
  }
  return {
    firstRanks: ranksAt(fits),
    decide: (spectra) => ({
      ranks: spectra.map((spectrum) => ownRank(spectrum, options.rule, options.limits)),
    }),
    spent(ranks, spectra) {
      const total = spectra.reduce((sum, { frobenius }) => sum + frobenius ** 2, 0)
      // no layout of one rank has more than these; but ranks that hold only rounding were left out
      const wanted = ranksAt(fits)
      const left = spectra.reduce(
        (sum, spectrum, i) => sum + (ranks[i] < wanted[i] ? leftBy(spectrum, ranks[i]) : 0),
        0,
      )
      return {
        bytes: budget,
        used: total > 0 ? adapterBytes(plan, options, ranks) : 0,
        couldGain: total > 0 ? left / total : 0,
      }
    },
  }
}
