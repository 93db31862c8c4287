import { bringNear } from '../../checkpoint/near.ts'
import { assertUnchanged } from '../../io/files.ts'
import { inContext, type RunContext } from '../../jobs/context.ts'
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
import { openVerified, sourceOf, warningsOf } from './open.ts'
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
  /** Whether no error is above `maxError`, all has its counterpart, and loaders load all of it. */
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
    const { join, maxError } = verifyJoinSettings(options)
    return inContext(options, async () => {
      const { source, measures, seconds } = await joinedMeasures(join)
      return resultOf(source, maxError, measures, seconds)
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
  const { adapter, base, tuned, files } = opened
  await bringNear(files.tensors.values())
  const measured = await measureAdapter(adapter, base, tuned, settings, context)
  for (const input of [files, base, tuned]) await assertUnchanged(input)
  const seconds = (performance.now() - start) / 1000
  const measures = { ...measured, warnings: warningsOf(opened, measured) }
  return resultOf(sourceOf(settings), settings.maxError, measures, seconds)
}

function resultOf(
  source: VerifyResult['source'],
  maxError: number | undefined,
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
