import type { Checkpoint } from '../checkpoint/types.ts'
import { assertRoom, freeBytes } from '../io/files.ts'
import { withinLimits } from '../linalg/spectrum/rules.ts'
import type { AdapterFormat } from '../lora/model.ts'
import type { AdapterLayout } from '../lora/write/peft.ts'
import type { CombineSettings } from './combine.ts'
import { outputBytes, planOutput } from './output.ts'
import { assertResultFree } from './place.ts'
import type { CombinePlan, LostTensor } from './plan.ts'
import type { SumRule } from './ranks.ts'

/** What a dry run says of a sum: all that headers and configs tell. */
export interface CombinePreview {
  readonly rule: SumRule
  readonly layout: AdapterLayout
  readonly format: AdapterFormat
  readonly dtype: string
  readonly layers: readonly {
    readonly name: string
    readonly shape: readonly [rows: number, columns: number]
    /** Columns of the factors that add up, all together. */
    readonly rankBefore: number
    /** At most, where the rule tells before anything is computed. */
    readonly rank?: number
  }[]
  readonly kept: readonly string[]
  readonly lost: readonly LostTensor[]
  readonly output: {
    readonly path: string
    readonly format: AdapterFormat
    /** Bytes of the whole result at those ranks, exactly; where they are known. */
    readonly bytes?: number
    /** On the file system of the output. */
    readonly free: number
  }
  readonly warnings: readonly string[]
}

/** All that can be said before anything is computed. Throws as `combine` does of an output that can't be. */
export async function previewSum(
  plan: CombinePlan,
  inputs: readonly Checkpoint[],
  settings: CombineSettings & { readonly format: AdapterFormat | undefined },
): Promise<CombinePreview> {
  const { output, rule, layout, format = plan.format } = settings
  await assertResultFree(format, inputs, settings)
  const ranks = mostRanks(plan, settings)
  // another format's names take other room
  const bytes =
    ranks === undefined || format !== plan.format ? undefined : outputBytes(planOutput(plan, ranks, settings))
  if (bytes !== undefined) await assertRoom(output, bytes)
  return {
    rule,
    layout,
    format,
    dtype: plan.dtype,
    layers: plan.layers.map(({ name, module, terms }, i) => ({
      name,
      shape: [module.rows, module.columns],
      rankBefore: terms.reduce((sum, term) => sum + term.module.rank, 0),
      ...(ranks !== undefined && { rank: ranks[i] }),
    })),
    kept: plan.kept.map(({ name }) => name),
    lost: plan.lost,
    output: {
      path: output,
      format,
      ...(bytes !== undefined && { bytes }),
      free: await freeBytes(output),
    },
    warnings: plan.warnings,
  }
}

/** The ranks that a rule gives factors of full rank, where it is one that needs no spectrum. */
function mostRanks({ layers }: CombinePlan, { rule, limits }: CombineSettings): number[] | undefined {
  if (rule.kind !== 'rank' && rule.kind !== 'exact') return undefined
  return layers.map(({ module: { rows, columns }, terms }) => {
    const before = terms.reduce((sum, term) => sum + term.module.rank, 0)
    const order = Math.min(before, rows, columns)
    return rule.kind === 'exact' ? order : withinLimits(rule.rank, order, limits)
  })
}
