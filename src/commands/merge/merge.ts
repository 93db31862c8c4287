import { openSummands, refuseWhatAddsNothingUp } from '../../combine/open.ts'
import { planSum } from '../../combine/plan.ts'
import { type CombinePreview, previewSum } from '../../combine/preview.ts'
import { assertConvertible } from '../../convert/convertible.ts'
import { type SummedAs, sumAs } from '../../convert/sum-as.ts'
import { asRead } from '../../io/remote/hub.ts'
import { inContext, type RunContext } from '../../jobs/context.ts'
import { sumBase, sumCommand } from '../combined.ts'
import { assertLayoutOf } from '../formats.ts'
import { type MergeOptions, type MergeSettings, mergeSettings } from './options.ts'
import { type Overlap, overlapOf } from './overlap.ts'

/** What a dry run says. */
export interface MergePreview extends CombinePreview {
  readonly source: MergeResult['source']
}

/** The sum of adapters, as it lies on disk. */
export interface MergeResult extends SummedAs {
  readonly source: { readonly adapters: readonly { readonly path: string; readonly weight: number }[] }
  /** How the adapters lie to each other, over all layers. */
  readonly overlap: Overlap
  readonly seconds: number
}

/**
 * Writes Σ wᵢ·ΔWᵢ as one adapter: exactly, at the rank that the sum has, or as the best factors of a rank that a rule chooses. Adapters
 * may differ in rank, alpha, format and in the modules they have. Throws LoraSvdError: `bad-usage` and `bad-input` for what can't be
 * done, `output-exists`, `not-finite` on NaN and infinity, `system` where the machine fails, `interrupted`.
 */
export function merge(options: MergeOptions & { readonly dryRun: true }): Promise<MergePreview>
export function merge(options: MergeOptions & { readonly dryRun?: false | undefined }): Promise<MergeResult>
export function merge(options: MergeOptions): Promise<MergeResult | MergePreview>
export async function merge(options: MergeOptions): Promise<MergeResult | MergePreview> {
  const settings = mergeSettings(options)
  return inContext({ ...options, memory: settings.memory }, (context) => merged(settings, context))
}

async function merged(settings: MergeSettings, context: RunContext): Promise<MergeResult | MergePreview> {
  const start = performance.now()
  const { adapters, weights, dtype, prefer } = settings
  const requests = adapters.map((path, i) => ({ path, weight: weights[i] }))
  const { summands, base, inputs } = await openSummands(requests, settings, context)
  refuseWhatAddsNothingUp(summands)
  // llama.cpp's and MLX's are summed under PEFT's names
  const format = settings.format ?? summands[0].adapter.format
  assertLayoutOf(format, settings.layout)
  assertConvertible(summands[0], base, format)
  const plan = await planSum(summands, { base, dtype, prefer })
  const read = requests.map(({ path, weight }) => ({ path: asRead(path), weight }))
  const command = sumCommand(['merge', ...adapters], { ...settings, weights, prefer })
  const asked = { ...settings, format, command, named: sumBase(settings.baseName, base) }
  if (settings.dryRun) {
    return { source: { adapters: read }, ...(await previewSum(plan, inputs, asked)) }
  }
  const combined = await sumAs(plan, base, inputs, asked, context)
  return {
    source: { adapters: read },
    ...combined,
    overlap: overlapOf(
      combined.layers.map(({ inner }) => inner),
      adapters.length,
    ),
    seconds: (performance.now() - start) / 1000,
  }
}
