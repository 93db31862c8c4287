import { openSummands } from '../../combine/open.ts'
import { planSum } from '../../combine/plan.ts'
import { type CombinePreview, previewSum } from '../../combine/preview.ts'
import { assertConvertible } from '../../convert/convertible.ts'
import { type SummedAs, sumAs } from '../../convert/sum-as.ts'
import { assertUnchanged } from '../../io/files.ts'
import { asRead } from '../../io/remote/hub.ts'
import { inContext, type RunContext } from '../../jobs/context.ts'
import { sumBase, sumCommand } from '../combined.ts'
import { assertLayoutOf } from '../formats.ts'
import { sumMoments, sumMomentWarnings } from './moments.ts'
import { type ResizeOptions, type ResizeSettings, resizeSettings } from './options.ts'

/** What a dry run says. */
export interface ResizePreview extends CombinePreview {
  readonly source: { readonly adapter: string }
}

/** An adapter at another rank, as it lies on disk. */
export interface ResizeResult extends SummedAs {
  readonly source: { readonly adapter: string }
  /** Whether it is DoRA: the error is then that of B·A, and the magnitudes are those that were. */
  readonly isDora: boolean
  readonly seconds: number
}

/**
 * Writes an adapter at another rank: the best factors of that rank, by QR of the stored ones and an SVD of the small product; no matrix
 * of a weight's size is formed. What is stored whole is kept. Throws LoraSvdError: `bad-usage` and `bad-input` for what can't be done,
 * `output-exists`, `not-finite` on NaN and infinity, `system` where the machine fails, `interrupted`.
 */
export function resize(options: ResizeOptions & { readonly dryRun: true }): Promise<ResizePreview>
export function resize(
  options: ResizeOptions & { readonly dryRun?: false | undefined },
): Promise<ResizeResult>
export function resize(options: ResizeOptions): Promise<ResizeResult | ResizePreview>
export async function resize(options: ResizeOptions): Promise<ResizeResult | ResizePreview> {
  const settings = resizeSettings(options)
  return inContext({ ...options, memory: settings.memory }, (context) => resized(settings, context))
}

async function resized(settings: ResizeSettings, context: RunContext): Promise<ResizeResult | ResizePreview> {
  const start = performance.now()
  const { adapter, dtype } = settings
  const { summands, base, inputs } = await openSummands([{ path: adapter, weight: 1 }], settings, context)
  // llama.cpp's and MLX's are summed under PEFT's names
  const format = settings.format ?? summands[0].adapter.format
  assertLayoutOf(format, settings.layout)
  assertConvertible(summands[0], base, format)
  const plan = await planSum(summands, { base, dtype })
  const command = sumCommand(['resize', adapter], { ...settings, moments: settings.momentFile })
  const weighing = await sumMoments(settings.momentFile, plan, base, adapter, context)
  const asked = {
    ...{ ...settings, format, command, named: sumBase(settings.baseName, base) },
    moments: weighing?.ofLayers,
  }
  if (settings.dryRun)
    return { source: { adapter: asRead(adapter) }, ...(await previewSum(plan, inputs, asked)) }
  const combined = await sumAs(plan, base, inputs, asked, context)
  if (weighing !== undefined) await assertUnchanged(weighing.file)
  return {
    source: { adapter: asRead(adapter) },
    ...combined,
    warnings: [
      ...combined.warnings,
      ...(weighing === undefined ? [] : sumMomentWarnings(weighing, combined.layers)),
    ],
    isDora: plan.modules.some(({ module }) => module.magnitude !== undefined),
    seconds: (performance.now() - start) / 1000,
  }
}
