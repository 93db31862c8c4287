import { bringNear } from '../../checkpoint/near.ts'
import { openCheckpoint } from '../../checkpoint/open.ts'
import { badInput } from '../../errors.ts'
import { assertUnchanged } from '../../io/files.ts'
import { asRead } from '../../io/remote/hub.ts'
import { inContext, type RunContext } from '../../jobs/context.ts'
import type { NotLoaded } from '../../lora/found-by-loaders.ts'
import { adapterOf } from '../../lora/read/adapter.ts'
import { inNamesOf, refuseGguf } from '../../lora/read/gguf-base.ts'
import {
  type AdapterMeasures,
  type Carried,
  measureAdapter,
  type TotalErrors,
  totalErrors,
} from '../../measure/adapter.ts'
import type { NotCarried, VerifiedLayer, VerifiedTensor } from '../../measure/measure.ts'
import { short } from '../../text/numbers.ts'
import { type VerifyOptions, type VerifySettings, verifySettings } from './options.ts'

/** What an adapter as it lies on disk really reproduces of a fine-tune. */
export interface VerifyResult {
  /** The paths as they were given. */
  readonly source: { readonly adapter: string; readonly base: string; readonly tuned: string }
  /** Each matrix that the adapter has factors for. */
  readonly layers: readonly VerifiedLayer[]
  /** Tensors that the adapter stores whole. */
  readonly replaced: readonly VerifiedTensor[]
  /** What changed and the adapter leaves as it was. */
  readonly notCarried: readonly NotCarried[]
  /** Equal in both. */
  readonly unchanged: readonly string[]
  /** Modules that a loader of such adapters would take for nothing. */
  readonly notLoaded: readonly NotLoaded[]
  readonly worst?: { readonly name: string; readonly relativeError: number }
  readonly totals: TotalErrors & {
    /** Tensors that both have, or that the adapter stores whole. */
    readonly matched: number
    /** Tensors that one of the two alone has, or that can't be compared. */
    readonly unmatched: number
  }
  readonly maxError?: number
  /** Whether no error is above `maxError`, all has its counterpart, and loaders load all of it. */
  readonly holds: boolean
  readonly warnings: readonly string[]
  readonly seconds: number
}

/**
 * Measures how far base + adapter is from the fine-tune, for any adapter, from what lies on disk: layer by layer, and over all. Throws
 * LoraSvdError: `bad-usage` and `bad-input` for what can't be compared, `not-finite` on NaN and infinity, `interrupted`.
 */
export async function verify(options: VerifyOptions): Promise<VerifyResult> {
  const settings = verifySettings(options)
  return inContext({ ...options, memory: settings.memory }, (context) => verified(settings, context))
}

async function verified(settings: VerifySettings, context: RunContext): Promise<VerifyResult> {
  const start = performance.now()
  const { opening } = context
  const { alpha, alphaZero } = settings
  const files = await openCheckpoint(settings.adapter, opening)
  const stored = await openCheckpoint(settings.base, opening)
  const tuned = await openCheckpoint(settings.tuned, opening)
  refuseGguf(tuned)
  const base = await inNamesOf(stored, tuned)
  const model = base.config ?? tuned.config
  const adapter = await adapterOf(files, { alpha, alphaZero, model, isStrict: true })
  if (adapter === undefined) {
    throw badInput(`${settings.adapter}: is no adapter: none of its tensors is a LoRA factor`, {
      file: settings.adapter,
    })
  }
  await bringNear(files.tensors.values())
  const measured = await measureAdapter(adapter, base, tuned, settings, context)
  for (const input of [files, base, tuned]) await assertUnchanged(input)
  const seconds = (performance.now() - start) / 1000
  const warnings = [
    ...new Set([...base.warnings, ...tuned.warnings, ...measured.warnings, ...worseThanNone(measured)]),
  ]
  return resultOf(settings, { ...measured, warnings }, seconds)
}

function resultOf(
  { adapter, base, tuned, maxError }: VerifySettings,
  { matched, unmatched, ...measures }: AdapterMeasures,
  seconds: number,
): VerifyResult {
  const carried = [...measures.layers, ...measures.replaced]
  const worst = carried.reduce<VerifiedLayer | VerifiedTensor | undefined>(
    (most, one) => (most === undefined || one.relativeError > most.relativeError ? one : most),
    undefined,
  )
  return {
    source: { adapter: asRead(adapter), base: asRead(base), tuned: asRead(tuned) },
    ...measures,
    ...(worst !== undefined && { worst: { name: worst.name, relativeError: worst.relativeError } }),
    totals: { ...totalErrors(measures), matched, unmatched },
    ...(maxError !== undefined && { maxError }),
    // nothing is guaranteed by an adapter that carries nothing, or that its own loader takes for nothing, nor by a part of the models
    holds:
      unmatched === 0 &&
      measures.notLoaded.length === 0 &&
      (maxError === undefined || (worst !== undefined && worst.relativeError <= maxError)),
    seconds,
  }
}

/** An adapter that brings the base no nearer to tuned: its scale, or what it is compared with, is wrong. */
function worseThanNone(measures: Carried): string[] {
  const { relativeError } = totalErrors(measures)
  if (!(relativeError > 1)) return []
  return [
    `with the adapter the base is farther from the fine-tune than without (error ${short(relativeError, 3)}): are <base> and <tuned> swapped, or is it another's adapter?`,
  ]
}
