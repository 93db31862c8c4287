import { allowedTail } from './allowed-tail.ts'
import { type RankLimits, type RankRule, withinLimits } from './rules.ts'

/** What is known of a spectrum of `order` singular values of which only the first few have been approximated. */
export interface PartialSpectrum {
  readonly order: number
  /** ‖A‖_F². */
  readonly total: number
  /** Lower bounds θ_i of the leading σ_i². */
  readonly theta: Float64Array
  /** At least Σ_{i≤r} (σ_i² − θ_i), r ≤ θ's length. */
  excess(r: number): number
  /** At least σ_{r+1}², r ≤ θ's length; only a noise floor asks for it. */
  beyond?(r: number): number
  /** How far ‖A‖_F² − Σθ may be off by rounding. */
  readonly rounding: number
}

/** The ranks that a rule may choose, given what is known; `least` = `most` where it is decided. */
export interface RankRange {
  readonly least: number
  readonly most: number
}

/** The range of what `chooseRank` would choose if all singular values were known. */
export function rankRange(rule: RankRule, limits: RankLimits, known: PartialSpectrum): RankRange {
  const [least, most] = ruleRange(rule, known)
  return { least: withinLimits(least, known.order, limits), most: withinLimits(most, known.order, limits) }
}

function ruleRange(rule: RankRule, known: PartialSpectrum): [least: number, most: number] {
  switch (rule.kind) {
    case 'rank':
      return [rule.rank, rule.rank]
    case 'energy':
    case 'error':
      return tailRange(known, allowedTail(rule))
    case 'noise-floor':
      return floorRange(known, rule.floor * rule.floor)
  }
}

/**
 * The least r with Σ_{i>r} σ_i² ≤ share·‖A‖_F² lies from the first r where the tail may be as small to the first where it
 * certainly is.
 */
function tailRange(known: PartialSpectrum, share: number): [least: number, most: number] {
  const { order, total, theta, rounding } = known
  const target = share * total
  const tails = [total]
  for (const value of theta) tails.push(tails[tails.length - 1] - value)
  const certain = tails.findIndex((tail) => tail + rounding <= target)
  const last = certain < 0 ? theta.length : certain
  // From below the least r the excess only makes the tail smaller still, so the search may start at the certain end.
  let least = certain < 0 ? last + 1 : last
  while (least > 0 && tails[least - 1] - rounding - known.excess(least - 1) <= target) least--
  return [Math.min(least, order), certain < 0 ? order : certain]
}

/** Values whose lower bound exceeds the floor are above it; the first that certainly doesn't ends them. */
function floorRange(known: PartialSpectrum, square: number): [least: number, most: number] {
  const { order, theta, rounding } = known
  const least = theta.findIndex((value) => value - rounding <= square)
  const shown = least < 0 ? theta.length : least
  for (let r = shown; r <= theta.length; r++) {
    if (r === order || (known.beyond !== undefined && known.beyond(r) <= square)) return [shown, r]
  }
  return [shown, order]
}
