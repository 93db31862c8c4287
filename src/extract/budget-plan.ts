import { badInput, type LoraSvdError } from '../errors.ts'
import { bytes as byteText } from '../report/numbers.ts'
import type { Spectrum } from '../spectrum/types.ts'
import type { Decision } from './ranks.ts'
import type { BudgetSpent } from './result.ts'

/** How a byte budget is spent. */
export interface BudgetPlan {
  /** What the first round asks of each layer. */
  readonly firstRanks: readonly number[]
  decide(spectra: readonly Spectrum[]): Decision
  spent(ranks: readonly number[], spectra: readonly Spectrum[]): BudgetSpent
}

/** Singular triplets that a layer is asked for before it is known how many the budget pays for. */
export const FIRST_RANK = 32

export const tooSmall = (budget: number, needed: number): LoraSvdError =>
  badInput(
    `--budget ${byteText(budget)}: at the least ranks the adapter takes ${byteText(needed)} already; give that much, or leave tensors out with --exclude`,
  )

/** What a rank leaves of ‖Δ‖_F², by the values that are known. */
export const leftBy = ({ singularValues, frobenius }: Spectrum, rank: number): number =>
  Math.max(
    0,
    singularValues.subarray(0, rank).reduce((left, s) => left - s * s, frobenius ** 2),
  )
