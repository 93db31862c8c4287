import { join } from 'node:path'
import { openCheckpoint } from '../checkpoint/open.ts'
import type { Checkpoint } from '../checkpoint/types.ts'
import { type CombineSettings, combine } from '../combine/combine.ts'
import { assertResultFree } from '../combine/place.ts'
import type { CombinePlan } from '../combine/plan.ts'
import type { Combined } from '../combine/result.ts'
import { badInput, LoraSvdError } from '../errors.ts'
import { inTemporaryFolder } from '../io/new-folder.ts'
import type { RunContext } from '../jobs/context.ts'
import type { AdapterFormat } from '../lora/model.ts'
import { adapterOf } from '../lora/read/adapter.ts'
import { quoted } from '../text/quote.ts'
import { convertAdapter, gapsOf, type LoaderGap } from './convert.ts'
import { type ConversionPlan, planConversion } from './plan.ts'
import { plannedBytes } from './write.ts'

export interface SumAsSettings extends CombineSettings {
  /** The format of the result; that of the first adapter where undefined. */
  readonly format: AdapterFormat | undefined
  readonly baseName: string | undefined
}

/** A sum, and what loaders don't do right with the format that was asked for. */
export interface SummedAs extends Combined {
  readonly gaps: readonly LoaderGap[]
}

/** Times that a budget is lowered by what another format takes more: names and alphas change little with the ranks. */
const MOST_TRIES = 4

/**
 * Writes the sum that a plan is about in any format: in the first adapter's as `combine` does; in another it is first written so, beside the
 * result, and then converted, which changes no number of it, as reading it back shows. Throws as `combine` does, and `bad-input` where
 * the format has no place for what the sum holds.
 */
export async function sumAs(
  plan: CombinePlan,
  base: Checkpoint | undefined,
  inputs: readonly Checkpoint[],
  settings: SumAsSettings,
  context: RunContext,
): Promise<SummedAs> {
  const { format = plan.format, output } = settings
  if (format === plan.format) return { ...(await combine(plan, inputs, settings, context)), gaps: [] }
  await assertResultFree(format, inputs, settings)
  return inTemporaryFolder(output, async (folder) => {
    const { rule } = settings
    let own = settings.rule
    for (let i = 0; i < MOST_TRIES; i++) {
      const staged = join(folder, `${i}${plan.format === 'peft' ? '' : '.safetensors'}`)
      const combined = await combine(plan, inputs, { ...settings, rule: own, output: staged }, context)
      const conversion = await planOf(staged, format, base, plan, settings)
      refuseWhole(output, conversion)
      const bytes = plannedBytes(conversion)
      if (rule.kind === 'budget' && own.kind === 'budget' && bytes > rule.bytes) {
        own = { kind: 'budget', bytes: own.bytes - (bytes - rule.bytes) }
        continue
      }
      refuseDropped(output, conversion)
      const converted = await convertAdapter(conversion, inputs, settings, context)
      if (!converted.isExact)
        throw new LoraSvdError('system', `${output}: is not what was computed; run the same command again`, {
          file: output,
        })
      const { totals } = combined
      return {
        ...combined,
        ...{ rule, format, output: converted.output, kept: converted.kept },
        totals: { ...totals, modules: converted.totals.modules, bytes: converted.totals.bytes },
        holds: combined.broken.length === 0 && combined.lost.length === 0,
        gaps: gapsOf(conversion),
        warnings: [...new Set([...combined.warnings, ...converted.warnings])],
      }
    }
    throw badInput(`--budget: no ranks were found at which ${format} takes no more; give a little more`)
  })
}

async function planOf(
  path: string,
  format: AdapterFormat,
  base: Checkpoint | undefined,
  { dtype }: CombinePlan,
  { layout, command, baseName }: SumAsSettings,
): Promise<ConversionPlan> {
  const checkpoint = await openCheckpoint(path)
  const adapter = (await adapterOf(checkpoint))!
  return planConversion({ checkpoint, adapter, weight: 1 }, base, {
    format,
    layout,
    dtype,
    command,
    baseName,
  })
}

/** What a sum of factors is not: the magnitudes of DoRA are beside them. */
function refuseWhole(output: string, { differences: [first] }: ConversionPlan): void {
  if (first === undefined) return
  throw badInput(
    `${output}: the module ${quoted(first.label)} is DoRA, of which ComfyUI has to be given the whole change, and nothing of a smaller rank; leave --format out, and convert the result`,
    { file: output },
  )
}

function refuseDropped(output: string, { dropped, format }: ConversionPlan): void {
  const [first] = dropped
  if (first === undefined) return
  throw badInput(
    `${output}: ${quoted(first.name)} ${first.reason}: not all of the result can be had as ${format}; leave --format out, and convert it with --drop`,
    { file: output },
  )
}
