import { bringNear } from '../../checkpoint/near.ts'
import { badUsage } from '../../errors.ts'
import { assertUnchanged } from '../../io/files.ts'
import { inContext, type RunContext } from '../../jobs/context.ts'
import { ratioOfNorms } from '../../linalg/matrix/norms.ts'
import type { NotLoaded } from '../../lora/found-by-loaders.ts'
import {
  type AdapterMeasures,
  type Carried,
  measureAdapter,
  type TotalErrors,
  totalErrors,
} from '../../measure/adapter.ts'
import type { NotCarried, VerifiedLayer, VerifiedTensor } from '../../measure/measure.ts'
import type { Shard } from '../../shards/shard.ts'
import { short } from '../../text/numbers.ts'
import { inputsOf, openVerified, sourceOf, warningsOf } from './open.ts'
import {
  type VerifyJoinOptions,
  type VerifyOptions,
  type VerifySettings,
  verifyJoinSettings,
  verifySettings,
} from './options.ts'
import { joinedMeasures, type VerifyShard, verifyShard } from './shard.ts'

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
 * Measures how far base + adapter is from the fine-tune, for any adapter, from what lies on disk: layer by layer, and over all. With `shard` it
 * measures a part of the tensors and judges nothing; with `join` it makes the report of what all shards have measured. Throws LoraSvdError:
 * `bad-usage` and `bad-input` for what can't be compared, `not-finite` on NaN and infinity, `interrupted`.
 */
export function verify(options: VerifyOptions & { readonly shard: Shard }): Promise<VerifyShard>
export function verify(
  options: (VerifyOptions & { readonly shard?: undefined }) | VerifyJoinOptions,
): Promise<VerifyResult>
export function verify(options: VerifyOptions | VerifyJoinOptions): Promise<VerifyResult | VerifyShard>
export async function verify(
  options: VerifyOptions | VerifyJoinOptions,
): Promise<VerifyResult | VerifyShard> {
  if (isJoin(options)) {
    const { join, maxError, maxOutputError } = verifyJoinSettings(options)
    return inContext(options, async () => {
      const { source, isWeighed, measures, seconds } = await joinedMeasures(join)
      if (maxOutputError !== undefined && !isWeighed) {
        throw badUsage(
          '--max-output-error is about inputs that --moments tells of, and the shards had none: run them with --moments',
        )
      }
      return resultOf(source, { maxError, maxOutputError, isWeighed }, measures, seconds)
    })
  }
  const settings = verifySettings(options)
  return inContext<VerifyResult | VerifyShard>({ ...options, memory: settings.memory }, (context) =>
    settings.shard === undefined
      ? verified(settings, context)
      : verifyShard(settings, settings.shard, context),
  )
}

const isJoin = (options: VerifyOptions | VerifyJoinOptions): options is VerifyJoinOptions =>
  typeof options === 'object' && options !== null && 'join' in options && options.join !== undefined

async function verified(settings: VerifySettings, context: RunContext): Promise<VerifyResult> {
  const start = performance.now()
  const opened = await openVerified(settings, context)
  const { adapter, base, tuned, files, moments } = opened
  await bringNear(files.tensors.values())
  const measured = await measureAdapter(adapter, base, tuned, settings, context, undefined, moments)
  for (const input of inputsOf(opened)) await assertUnchanged(input)
  const seconds = (performance.now() - start) / 1000
  const measures = { ...measured, warnings: warningsOf(opened, measured) }
  return resultOf(sourceOf(settings), { ...settings, isWeighed: moments !== undefined }, measures, seconds)
}

/** What is asked of errors, and whether those in the norm of inputs are known. */
interface Judging {
  readonly maxError?: number | undefined
  readonly maxOutputError?: number | undefined
  readonly isWeighed: boolean
}

function resultOf(
  source: VerifyResult['source'],
  { maxError, maxOutputError, isWeighed }: Judging,
  { matched, unmatched, ...measures }: AdapterMeasures,
  seconds: number,
): VerifyResult {
  const carried = [...measures.layers, ...measures.replaced]
  const worst = carried.reduce<VerifiedLayer | VerifiedTensor | undefined>(
    (most, one) => (most === undefined || one.relativeError > most.relativeError ? one : most),
    undefined,
  )
  return {
    source,
    ...measures,
    warnings: [...new Set([...measures.warnings, ...worseThanNone(measures)])],
    ...(worst !== undefined && { worst: { name: worst.name, relativeError: worst.relativeError } }),
    totals: { ...totalErrors(measures), matched, unmatched },
    ...(maxError !== undefined && { maxError }),
    ...(isWeighed && { output: outputOf(measures.layers) }),
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
