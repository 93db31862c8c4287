import { badInput } from '../errors.ts'
import { bytesPerElement } from '../formats/dtype.ts'
import { type BudgetSplit, splitBudget } from '../rank/budget.ts'
import { withinLimits } from '../rank/rules.ts'
import { bytes as byteText } from '../report/numbers.ts'
import type { Spectrum } from '../spectrum/types.ts'
import { adapterBytes } from './adapter-plan.ts'
import type { ExtractOptions } from './options.ts'
import type { ExtractionPlan } from './plan.ts'
import { type Decision, ownRank, rankAsk } from './ranks.ts'
import type { BudgetSpent } from './result.ts'

/** How a byte budget is spent. */
export interface BudgetPlan {
  /** What the first round asks of each layer. */
  readonly firstRanks: readonly number[]
  decide(spectra: readonly Spectrum[]): Decision
  spent(ranks: readonly number[], spectra: readonly Spectrum[]): BudgetSpent
}

/** The plan for spending `budget` bytes on the whole output. Throws `bad-input` where the least ranks take more. */
export function budgetPlan(plan: ExtractionPlan, options: ExtractOptions, budget: number): BudgetPlan {
  return options.layout === 'portable'
    ? portableBudget(plan, options, budget)
    : patternBudget(plan, options, budget)
}

/** Singular triplets that a layer is asked for before it is known how many the budget pays for. */
const FIRST_RANK = 32

/** Attempts at most to use what headers and patterns leave of a budget. */
const MOST_ATTEMPTS = 12

/**
 * Spread so that the summed squared error is least. The factors' bytes grow with every rank alike; those of headers, patterns
 * and the card don't, so that they are set aside, and set aside again where they came to more or less. A layer whose known
 * triplets are all wanted is asked for twice as many.
 */
function patternBudget(plan: ExtractionPlan, options: ExtractOptions, budget: number): BudgetPlan {
  const { limits } = options
  const costs = plan.layers.map(
    ({ pair: { tuned } }) => (tuned.rows + tuned.columns) * bytesPerElement(plan.dtype),
  )
  const factorBytes = (ranks: readonly number[]) => ranks.reduce((sum, rank, i) => sum + rank * costs[i], 0)
  const allBytes = (ranks: readonly number[]) => adapterBytes(plan, options, ranks)
  const most = plan.layers.map(({ pair: { tuned } }) =>
    withinLimits(Number.POSITIVE_INFINITY, Math.min(tuned.rows, tuned.columns), limits),
  )
  const least = most.map((order) => withinLimits(0, order, limits))
  const needed = allBytes(least)
  if (needed > budget) throw tooSmall(budget, needed)
  const leastAside = needed - factorBytes(least)

  const splitOf = (spectra: readonly Spectrum[], bytes: number): BudgetSplit => {
    const matrices = spectra.map(({ singularValues }, i) => ({
      name: plan.layers[i].pair.name,
      squares: singularValues.map((s) => s * s),
      bytesPerRank: costs[i],
      weight: 1,
    }))
    const found = splitBudget(matrices, { bytes, limits, exactBytes: factorBytes })
    return 'needed' in found ? { ranks: least, bytes: factorBytes(least), bound: 0 } : found
  }
  const bestSplit = (spectra: readonly Spectrum[]): readonly number[] => {
    let best: readonly number[] = least
    let aside = leastAside
    for (let i = 0; i < MOST_ATTEMPTS; i++) {
      const { ranks } = splitOf(spectra, budget - aside)
      const bytes = allBytes(ranks)
      if (bytes > budget) {
        aside += bytes - budget
        continue
      }
      if (gainOf(ranks, spectra) > gainOf(best, spectra)) best = ranks
      const taken = bytes - factorBytes(ranks)
      if (taken >= aside) break
      aside = taken
    }
    return best
  }
  return {
    firstRanks: most.map((order, i) => Math.min(order, Math.max(FIRST_RANK, least[i]))),
    decide(spectra) {
      const ranks = bestSplit(spectra)
      const asks = spectra.map(({ singularValues: { length } }, i) =>
        ranks[i] === length && length < most[i] ? rankAsk(Math.min(most[i], 2 * length)) : null,
      )
      return asks.some((ask) => ask !== null) ? { asks } : { ranks }
    },
    spent(ranks, spectra) {
      const total = spectra.reduce((sum, { frobenius }) => sum + frobenius ** 2, 0)
      const ideal = splitOf(spectra, budget - leastAside)
      const gain = gainOf(ideal.ranks, spectra) + ideal.bound - gainOf(ranks, spectra)
      return {
        bytes: budget,
        used: allBytes(ranks),
        couldGain: total > 0 ? Math.max(0, gain / total) : 0,
      }
    },
  }
}

/** What the ranks take from the summed squared error. */
const gainOf = (ranks: readonly number[], spectra: readonly Spectrum[]) =>
  spectra.reduce(
    (sum, { singularValues }, i) =>
      sum + singularValues.subarray(0, ranks[i]).reduce((part, s) => part + s * s, 0),
    0,
  )

const tooSmall = (budget: number, needed: number) =>
  badInput(
    `--budget ${byteText(budget)}: at the least ranks the adapter takes ${byteText(needed)} already; give that much, or leave tensors out with --exclude`,
  )

/** Padding makes all ranks cost as much as the largest, so that the best is the largest rank of all that fits. */
function portableBudget(plan: ExtractionPlan, options: ExtractOptions, budget: number): BudgetPlan {
  const orders = plan.layers.map(({ pair: { tuned } }) => Math.min(tuned.rows, tuned.columns))
  const ranksAt = (r: number) => orders.map((order) => withinLimits(r, order, options.limits))
  const sizeAt = (r: number) => adapterBytes(plan, options, ranksAt(r))
  const least = sizeAt(1)
  if (least > budget) throw tooSmall(budget, least)
  let [fits, tooMuch] = [1, Math.max(...orders) + 1]
  while (tooMuch - fits > 1) {
    const middle = (fits + tooMuch) >> 1
    if (sizeAt(middle) <= budget) fits = middle
    else tooMuch = middle
  }
  return {
    firstRanks: ranksAt(fits),
    decide: (spectra) => ({
      ranks: spectra.map((spectrum) => ownRank(spectrum, options.rule, options.limits)),
    }),
    spent(ranks, spectra) {
      const used = adapterBytes(plan, options, ranks)
      const total = spectra.reduce((sum, { frobenius }) => sum + frobenius ** 2, 0)
      const next = spectra.reduce((sum, { next: { atMost } }) => sum + atMost ** 2, 0)
      const step = Math.max(1, sizeAt(fits + 1) - sizeAt(fits))
      return { bytes: budget, used, couldGain: total > 0 ? ((budget - used) / step) * (next / total) : 0 }
    },
  }
}
