import { energyRank, errorRank, rankAboveFloor } from './measures.ts'

/**
 * How a rank is chosen from a spectrum. `energy` and `error` are shares in (0, 1] and [0, 1) of one matrix; `floor` is a
 * singular value, in the unit of the entries, that those kept must exceed.
 */
export type RankRule =
  | { readonly kind: 'rank'; readonly rank: number }
  | { readonly kind: 'energy'; readonly energy: number }
  | { readonly kind: 'error'; readonly error: number }
  | { readonly kind: 'noise-floor'; readonly floor: number }

/** Limits that hold whatever the rule chose; `multipleOf` rounds up. A `minRank` of 0 lets a rule choose nothing. */
export interface RankLimits {
  readonly minRank?: number
  readonly maxRank?: number
  readonly multipleOf?: number
}

/**
 * The rank that a rule chooses for singular values S (all of them, non-increasing), within the limits and
 * never above S.length. At least 1 for a matrix that has entries, so that there are factors to write, unless the limits
 * allow 0.
 */
export function chooseRank(S: Float64Array, rule: RankRule, limits: RankLimits = {}): number {
  return withinLimits(ruleRank(S, rule), S.length, limits)
}

/** The rank nearest to what a rule asks for that the limits allow, for a matrix with `order` singular values. */
export function withinLimits(rank: number, order: number, limits: RankLimits): number {
  const { minRank = 1, maxRank = order, multipleOf = 1 } = limits
  const raised = Math.max(minRank, rank)
  const rounded = Math.ceil(raised / multipleOf) * multipleOf
  const highest = Math.min(maxRank, order)
  // A multiple that doesn't fit under the highest rank gives way to the multiple below it, if the lowest allows that one.
  const lowered = rounded > highest ? Math.floor(highest / multipleOf) * multipleOf : rounded
  return lowered < minRank ? highest : lowered
}

function ruleRank(S: Float64Array, rule: RankRule): number {
  switch (rule.kind) {
    case 'rank':
      return rule.rank
    case 'energy':
      return energyRank(S, rule.energy)
    case 'error':
      return errorRank(S, rule.error)
    case 'noise-floor':
      return rankAboveFloor(S, rule.floor)
  }
}
