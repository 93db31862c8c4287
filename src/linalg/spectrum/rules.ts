import { badUsage } from '../../errors.ts'
import { energyRank, errorRank, rankAboveFloor, tailOfEnergy, tailOfError } from './ranks.ts'
import type { IntegerRange } from './spectrum.ts'

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

/** The share of ‖A‖_F² that a rule on one matrix's error lets be left out; infinite for other rules. */
export function allowedTail(rule: { readonly kind: string } | RankRule): number {
  if ('energy' in rule) return tailOfEnergy(rule.energy)
  return 'error' in rule ? tailOfError(rule.error) : Number.POSITIVE_INFINITY
}

/** The relative error that a rule allows a matrix: Infinity where it bounds none. */
export const errorAllowed = (rule: { readonly kind: string } | RankRule): number =>
  Math.sqrt(allowedTail(rule))

/** A rule that one spectrum answers. */
export type MatrixRule = Extract<RankRule, { kind: 'rank' | 'energy' | 'error' }>

/** A rule as a user asks for it: one of one matrix, or one whose figure comes from the data or from all matrices together. */
export type AskedRule =
  | MatrixRule
  /** The whole output in bytes, spread over the matrices so that the summed squared error is least. */
  | { readonly kind: 'budget'; readonly bytes: number }
  /** As many singular values as stand above the rounding of the stored dtypes. */
  | { readonly kind: 'noise-floor' }

export interface RuleFlags {
  readonly rank?: number | undefined
  readonly energy?: number | undefined
  readonly error?: number | undefined
  readonly budget?: number | undefined
  readonly noiseFloor?: boolean | undefined
}

export interface LimitFlags {
  readonly minRank?: number | undefined
  readonly maxRank?: number | undefined
  readonly multipleOf?: number | undefined
}

/** The one rule among the flags. Throws `bad-usage` for none or several; `examples` are the flags that the command has. */
export function askedRule(flags: RuleFlags, examples: string): AskedRule {
  const { budget, noiseFloor } = flags
  const rules: AskedRule[] = [...matrixRules(flags)]
  if (budget !== undefined) rules.push({ kind: 'budget', bytes: budget })
  if (noiseFloor === true) rules.push({ kind: 'noise-floor' })
  return onlyRule(rules, examples)
}

/** As `askedRule`, for a command that works on one matrix by its spectrum alone. */
export const askedMatrixRule = (flags: RuleFlags, examples: string): MatrixRule =>
  onlyRule(matrixRules(flags), examples)

function matrixRules({ rank, energy, error }: RuleFlags): MatrixRule[] {
  const rules: MatrixRule[] = []
  if (rank !== undefined) rules.push({ kind: 'rank', rank })
  if (energy !== undefined) rules.push({ kind: 'energy', energy })
  if (error !== undefined) rules.push({ kind: 'error', error })
  return rules
}

function onlyRule<Rule extends AskedRule>(rules: readonly Rule[], examples: string): Rule {
  if (rules.length === 1) return rules[0]
  const given = rules.map(({ kind }) => `--${kind}`).join(', ')
  throw badUsage(
    rules.length === 0
      ? `no rank rule: give one of ${examples}`
      : `${given} each choose the rank: give only one of them`,
  )
}

/** The limits among the flags. Throws `bad-usage` where they leave no rank. */
export function askedLimits({ minRank, maxRank, multipleOf }: LimitFlags): RankLimits {
  if (minRank !== undefined && maxRank !== undefined && minRank > maxRank) {
    throw badUsage(`--min-rank ${minRank} is above --max-rank ${maxRank}; make it ${maxRank} or less`)
  }
  return {
    ...(minRank !== undefined && { minRank }),
    ...(maxRank !== undefined && { maxRank }),
    ...(multipleOf !== undefined && { multipleOf }),
  }
}

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

/** The range of what `chooseRank` would choose if all singular values were known: both ends are equal where it is decided. */
export function rankRange(rule: RankRule, limits: RankLimits, known: PartialSpectrum): IntegerRange {
  const { atLeast, atMost } = ruleRange(rule, known)
  const allowed = (rank: number) => withinLimits(rank, known.order, limits)
  return { atLeast: allowed(atLeast), atMost: allowed(atMost) }
}

function ruleRange(rule: RankRule, known: PartialSpectrum): IntegerRange {
  switch (rule.kind) {
    case 'rank':
      return { atLeast: rule.rank, atMost: rule.rank }
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
function tailRange(known: PartialSpectrum, share: number): IntegerRange {
  const { order, total, theta, rounding } = known
  const target = share * total
  const tails = [total]
  for (const value of theta) tails.push(tails[tails.length - 1] - value)
  const certain = tails.findIndex((tail) => tail + rounding <= target)
  const last = certain < 0 ? theta.length : certain
  // From below the least r the excess only makes the tail smaller still, so the search may start at the certain end.
  let least = certain < 0 ? last + 1 : last
  while (least > 0 && tails[least - 1] - rounding - known.excess(least - 1) <= target) least--
  return { atLeast: Math.min(least, order), atMost: certain < 0 ? order : certain }
}

/** Values whose lower bound exceeds the floor are above it; the first that certainly doesn't ends them. */
function floorRange(known: PartialSpectrum, square: number): IntegerRange {
  const { order, theta, rounding } = known
  const first = theta.findIndex((value) => value - rounding <= square)
  const atLeast = first < 0 ? theta.length : first
  for (let r = atLeast; r <= theta.length; r++) {
    if (r === order || (known.beyond !== undefined && known.beyond(r) <= square))
      return { atLeast, atMost: r }
  }
  return { atLeast, atMost: order }
}
