import { openSummands } from '../../combine/open.ts'
import { assertResultFree } from '../../combine/place.ts'
import {
  type Conversion,
  convertAdapter,
  type DifferenceTotals,
  differenceTotals,
  gapsOf,
  type LoaderGap,
} from '../../convert/convert.ts'
import { type ConversionPlan, planConversion } from '../../convert/plan.ts'
import type { Dropped } from '../../convert/target.ts'
import { plannedBytes } from '../../convert/write.ts'
import { badInput } from '../../errors.ts'
import { assertRoom, freeBytes } from '../../io/files.ts'
import { asRead } from '../../io/remote/hub.ts'
import { inContext, type RunContext } from '../../jobs/context.ts'
import type { AdapterFormat } from '../../lora/model.ts'
import { counted, quoted } from '../../text/quote.ts'
import { convertCommand } from './made-by.ts'
import { type ConvertOptions, type ConvertSettings, convertSettings } from './options.ts'

export interface ConvertSource {
  readonly adapter: string
  readonly base?: string
}

/** What a dry run says: all that headers and configs tell. */
export interface ConvertPreview {
  readonly source: ConvertSource
  readonly from: AdapterFormat
  readonly format: AdapterFormat
  readonly dtype: string
  /** Modules of the result, by the names that it has for them: pairs of factors, and differences of whole weights. */
  readonly modules: readonly {
    readonly name: string
    /** The weights whose change it holds, or parts of. */
    readonly weights: readonly string[]
    readonly form: 'factors' | 'difference'
    readonly rank: number
    /** 0 of a difference. */
    readonly storedRank: number
  }[]
  readonly differences: DifferenceTotals
  readonly kept: readonly string[]
  readonly dropped: readonly Dropped[]
  readonly gaps: readonly LoaderGap[]
  readonly output: {
    readonly path: string
    readonly format: AdapterFormat
    readonly bytes: number
    readonly free: number
  }
  readonly warnings: readonly string[]
}

export interface ConvertResult extends Conversion {
  readonly source: ConvertSource
  readonly seconds: number
}

/**
 * Writes an adapter in another format: other names, another layout, the scale where that format wants it, and the same change of each
 * weight, which is read back and compared with the source's. Throws LoraSvdError: `bad-usage` and `bad-input` for what can't be
 * converted, `output-exists`, `not-finite`, `system` where the machine fails, `interrupted`.
 */
export function convert(options: ConvertOptions & { readonly dryRun: true }): Promise<ConvertPreview>
export function convert(
  options: ConvertOptions & { readonly dryRun?: false | undefined },
): Promise<ConvertResult>
export function convert(options: ConvertOptions): Promise<ConvertResult | ConvertPreview>
export async function convert(options: ConvertOptions): Promise<ConvertResult | ConvertPreview> {
  const settings = convertSettings(options)
  return inContext({ ...options, memory: settings.memory }, (context) => converted(settings, context))
}

async function converted(
  settings: ConvertSettings,
  context: RunContext,
): Promise<ConvertResult | ConvertPreview> {
  const start = performance.now()
  const { adapter, base: basePath } = settings
  const { summands, base, inputs } = await openSummands([{ path: adapter, weight: 1 }], settings, context)
  const plan = await planConversion(summands[0], base, { ...settings, command: convertCommand(settings) })
  await assertResultFree(plan.format, inputs, settings)
  if (!settings.drop) refuseDropped(adapter, plan)
  const source = { adapter: asRead(adapter), ...(basePath !== undefined && { base: asRead(basePath) }) }
  if (settings.dryRun) return { source, ...(await previewOf(plan, settings.output)) }
  const conversion = await convertAdapter(plan, inputs, settings, context)
  return { source, ...conversion, seconds: (performance.now() - start) / 1000 }
}

function refuseDropped(adapter: string, { dropped, format }: ConversionPlan): void {
  if (dropped.length === 0) return
  const [{ name, reason }] = dropped
  const more = dropped.length > 1 ? `, and so it is with ${counted(dropped.length - 1, 'other')}` : ''
  throw badInput(
    `${adapter}: ${quoted(name)} ${reason}${more}: not all of the adapter can be had as ${format}; --drop leaves that out`,
    { file: adapter },
  )
}

async function previewOf(plan: ConversionPlan, output: string): Promise<Omit<ConvertPreview, 'source'>> {
  const { format } = plan
  const bytes = plannedBytes(plan)
  await assertRoom(output, bytes)
  const ofGguf = plan.gguf?.tensors.filter(({ name }) => name.endsWith('.lora_b')) ?? []
  return {
    from: plan.source.adapter.format,
    format,
    dtype: plan.dtype,
    modules: [
      ...plan.pairs.map(({ module, changes, rank, storedRank }) => ({
        name: module,
        weights: [...new Set(changes.map((change) => change.module.tensor))],
        ...{ form: 'factors' as const, rank, storedRank },
      })),
      ...plan.differences.map(({ module, change, rank }) => ({
        name: module,
        weights: [change.name],
        ...{ form: 'difference' as const, rank, storedRank: 0 },
      })),
      ...ofGguf.map(({ name, shape }) => ({
        name: name.replace(/\.lora_b$/, ''),
        weights: [],
        form: 'factors' as const,
        rank: shape[shape.length - 1],
        storedRank: shape[shape.length - 1],
      })),
    ],
    differences: differenceTotals(plan),
    kept: plan.wholes.map(({ name }) => name),
    dropped: plan.dropped,
    gaps: gapsOf(plan),
    output: { path: output, format, bytes, free: await freeBytes(output) },
    warnings: plan.warnings,
  }
}
