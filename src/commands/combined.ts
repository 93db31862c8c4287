import type { Checkpoint } from '../checkpoint/types.ts'
import type { SumBase } from '../combine/output.ts'
import type { SumRule } from '../combine/ranks.ts'
import type { SummedAs } from '../convert/sum-as.ts'
import type { RankLimits } from '../linalg/spectrum/rules.ts'
import { baseModelName, publicName, repositoryOf } from '../lora/write/config.ts'
import { intervalFields } from '../report/json.ts'
import { shellWord } from '../text/quote.ts'

interface Told {
  readonly rule: SumRule
  readonly limits: RankLimits
  readonly uniform: boolean
  readonly layout: string
  readonly format: string | undefined
  readonly baseName: string | undefined
  readonly dtype: string | undefined
  readonly weights?: readonly number[]
  readonly prefer?: string | undefined
  readonly base: string | undefined
  readonly init: string | undefined
  readonly alpha: number | undefined
  readonly alphaZero: string | undefined
  readonly moments?: string | undefined
}

/** What the result calls its base: as the user says, or as the base tells where it is given. */
export const sumBase = (given: string | undefined, base: Checkpoint | undefined): SumBase => ({
  given,
  found: base && baseModelName(repositoryOf(base), base.config),
})

const argument = (path: string) => shellWord(publicName(path).replace(/^-/, './-'))

/** The command that makes the result, without what changes none of its bytes and without the folders of this machine. */
export function sumCommand([name, ...paths]: readonly string[], told: Told): string {
  const {
    rule,
    limits,
    uniform,
    layout,
    format,
    baseName,
    dtype,
    weights,
    prefer,
    base,
    init,
    alpha,
    alphaZero,
    moments,
  } = told
  const path = (name: string, value: string | undefined) =>
    value === undefined ? [] : [`--${name} ${argument(value)}`]
  const flag = (name: string, value: string | number | undefined) =>
    value === undefined ? [] : [`--${name} ${shellWord(String(value))}`]
  return [
    `lora-svd ${name} ${paths.map(argument).join(' ')} -o ADAPTER`,
    ...(weights?.some((weight) => weight !== 1) ? [`--weights=${weights.join()}`] : []),
    ...ruleFlags(rule),
    ...flag('min-rank', limits.minRank),
    ...flag('max-rank', limits.maxRank),
    ...flag('multiple-of', limits.multipleOf),
    ...(uniform ? ['--uniform'] : []),
    ...flag('layout', layout === 'portable' ? undefined : layout),
    ...flag('format', format),
    ...flag('base-name', baseName),
    ...flag('dtype', dtype),
    ...flag('prefer', prefer),
    ...path('base', base),
    ...path('init', init),
    ...path('moments', moments),
    ...flag('alpha', alpha),
    ...flag('alpha-zero', alphaZero),
  ].join(' ')
}

function ruleFlags(rule: SumRule): string[] {
  switch (rule.kind) {
    case 'exact':
      return []
    case 'rank':
      return [`--rank ${rule.rank}`]
    case 'energy':
      return [`--energy ${rule.energy}`]
    case 'error':
      return [`--error ${rule.error}`]
    case 'budget':
      return [`--budget ${rule.bytes}`]
  }
}

/** The fields of a result that `resize` and `merge` share, as JSON. */
export function combinedFields(result: SummedAs) {
  const { layers, totals, couldGain } = result
  return {
    rule: result.rule,
    layout: result.layout,
    dtype: result.dtype,
    layers: layers.map(({ inner, optimalError, output, ...layer }) => ({
      ...layer,
      ...(output !== undefined && {
        output: { ...output, optimalError: intervalFields(output.optimalError) },
      }),
      optimalError: intervalFields(optimalError),
    })),
    kept: result.kept,
    lost: result.lost,
    totals: {
      ...totals,
      optimalError: intervalFields(totals.optimalError),
      ...(totals.output !== undefined && {
        output: { ...totals.output, optimalError: intervalFields(totals.output.optimalError) },
      }),
    },
    ...(couldGain !== undefined && { couldGain }),
    broken: result.broken,
    holds: result.holds,
    output: result.output,
    gaps: result.gaps,
    warnings: result.warnings,
    engine: result.engine,
  }
}
