import type { Prefer } from '../../combine/kept.ts'
import type { SumRule } from '../../combine/ranks.ts'
import { badUsage } from '../../errors.ts'
import { askedRule } from '../../linalg/spectrum/rules.ts'
import { bytesOf, checkOptions, type Kind, needed, oneOf } from '../options.ts'
import { assertNamed, type ResizeOptions, type ResizeSettings, SUM, sumSettings } from '../resize/options.ts'

/** What `merge` takes: adapters, their weights, where the sum goes, and a rank rule where it is to be smaller than exact. */
export interface MergeOptions extends Omit<ResizeOptions, 'adapter'> {
  /** Adapter folders or files, in any formats that are read. The result has the format of the first. */
  readonly adapters: readonly string[]
  /** How much of each; 1 by default. Negative ones subtract. */
  readonly weights?: readonly number[] | undefined
  /** Which of two adapters that replace a whole tensor in two ways holds; without it that is refused. */
  readonly prefer?: Prefer | undefined
}

export interface MergeSettings extends Omit<ResizeSettings, 'adapter'> {
  readonly adapters: readonly string[]
  readonly weights: readonly number[]
  readonly prefer: Prefer | undefined
}

const paths: Kind = {
  expected: 'an array of paths, at least one',
  isValid: (value) =>
    Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === 'string'),
}

const weights: Kind = {
  expected: 'an array of numbers other than 0',
  isValid: (value) => Array.isArray(value) && value.every((one) => Number.isFinite(one) && one !== 0),
}

export const MERGE = { ...SUM, adapters: needed(paths), weights, prefer: oneOf(['first', 'last']) }

/** Checks the options, each by itself and with the others, and fills in what was left out. Throws `bad-usage`. */
export function mergeSettings(given: MergeOptions): MergeSettings {
  checkOptions('merge', given, MERGE)
  const { adapters, weights = adapters.map(() => 1), prefer } = given
  for (const path of adapters) assertNamed({ '<adapter>': path })
  assertNamed({ '--out': given.out })
  if (weights.length !== adapters.length) {
    throw badUsage(
      `--weights has ${weights.length} for ${adapters.length} adapters: give one for each, as in --weights 0.7,0.3`,
    )
  }
  return { adapters, weights, prefer, rule: mergeRule(given), ...sumSettings(given) }
}

/** Without a rule the sum is exact. */
function mergeRule(given: MergeOptions): SumRule {
  const { rank, energy, error } = given
  const budget = bytesOf(given.budget)
  if ([rank, energy, error, budget].every((one) => one === undefined)) {
    const limit = (['minRank', 'maxRank', 'multipleOf'] as const).find((key) => given[key] !== undefined)
    if (limit === undefined) return { kind: 'exact' }
    const flag = limit.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
    throw badUsage(
      `--${flag} limits what a rank rule chooses, and without one the sum keeps its own rank: add one of --rank, --energy, --error, --budget`,
    )
  }
  return askedRule({ rank, energy, error, budget }, '--rank, --energy, --error, --budget') as SumRule
}
