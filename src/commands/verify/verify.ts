import { bringNear } from '../../checkpoint/near.ts'
import { openCheckpoint } from '../../checkpoint/open.ts'
import { badInput } from '../../errors.ts'
import { assertUnchanged } from '../../io/files.ts'
import { asRead } from '../../io/remote/hub.ts'
import { inContext, type RunContext } from '../../jobs/context.ts'
import { ratioOfNorms } from '../../linalg/matrix/norms.ts'
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
import { openMoments } from '../../moments/open.ts'
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
  /** In the norm of the layers' inputs, over those that have moments; where moments were given. */
  readonly output?: {
    readonly layers: number
    /** √(Σ‖(Δ − scale·B·A)·R‖_F² / Σ‖Δ·R‖_F²), R·Rᵀ the moments of a layer. */
    readonly relativeError: number
    readonly worst?: { readonly name: string; readonly relativeError: number }
    /** Layers without moments. */
    readonly unweighed: readonly string[]
  }
  readonly maxOutputError?: number
  /** Whether no error is above `maxError`, none in the norm of inputs above `maxOutputError`, all has its counterpart, and loaders load all of it. */
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
  const moments = settings.moments === undefined ? undefined : await openMoments(settings.moments, opening)
  const measured = await measureAdapter(adapter, base, tuned, settings, context, undefined, moments)
  for (const input of [files, base, tuned, ...(moments === undefined ? [] : [moments])]) {
    await assertUnchanged(input)
  }
  const seconds = (performance.now() - start) / 1000
  const warnings = [
    ...new Set([
      ...base.warnings,
      ...tuned.warnings,
      ...(moments?.warnings ?? []),
      ...measured.warnings,
      ...worseThanNone(measured),
    ]),
  ]
  return resultOf(settings, { ...measured, warnings }, seconds)
}

function resultOf(
  { adapter, base, tuned, maxError, maxOutputError, moments }: VerifySettings,
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
    ...(moments !== undefined && { output: outputOf(measures.layers) }),
    ...(maxOutputError !== undefined && { maxOutputError }),
    // nothing is guaranteed by an adapter that carries nothing, or that its own loader takes for nothing, nor by a part of the models
    holds:
      unmatched === 0 &&
      measures.notLoaded.length === 0 &&
      (maxError === undefined || (worst !== undefined && worst.relativeError <= maxError)) &&
      (maxOutputError === undefined || holdsOutput(measures.layers, maxOutputError)),
    seconds,
  }
}

/** Of layers without moments nothing is known to hold. */
const holdsOutput = (layers: readonly VerifiedLayer[], most: number) =>
  layers.length > 0 && layers.every(({ output }) => output !== undefined && output.relativeError <= most)

/** What is left over all layers in the norm of their inputs. */
function outputOf(layers: readonly VerifiedLayer[]): NonNullable<VerifyResult['output']> {
  const felt = layers.flatMap(({ name, output }) => (output === undefined ? [] : [{ name, ...output }]))
  const worst = felt.reduce<(typeof felt)[number] | undefined>(
    (most, one) => (most === undefined || one.relativeError > most.relativeError ? one : most),
    undefined,
  )
  return {
    layers: felt.length,
    relativeError: ratioOfNorms(
      felt.map(({ residual }) => residual),
      felt.map(({ delta }) => delta),
    ),
    ...(worst !== undefined && { worst: { name: worst.name, relativeError: worst.relativeError } }),
    unweighed: layers.filter(({ output }) => output === undefined).map(({ name }) => name),
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
