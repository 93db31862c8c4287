import { badUsage } from '../errors.ts'
import type { RankLimits, RankRule } from './rules.ts'

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
  readonly rank?: number
  readonly energy?: number
  readonly error?: number
  readonly budget?: number
  readonly noiseFloor?: boolean
}

export interface LimitFlags {
  readonly minRank?: number
  readonly maxRank?: number
  readonly multipleOf?: number
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
