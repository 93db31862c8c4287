import { bringNear } from '../../checkpoint/near.ts'
import { badInput } from '../../errors.ts'
import { assertUnchanged } from '../../io/files.ts'
import type { RunIdentity } from '../../io/run-folder.ts'
import type { RunContext } from '../../jobs/context.ts'
import { type AdapterMeasures, allMeasures, measurePart, type PlacedMeasures } from '../../measure/adapter.ts'
import { countsOf } from '../../moments/types.ts'
import { contentDigest } from '../../shards/digest.ts'
import { type Kept, keptPart, type PartHead, readParts } from '../../shards/part.ts'
import type { Shard } from '../../shards/shard.ts'
import { partOf, type ShardPart } from '../../shards/split.ts'
import { version } from '../../version.ts'
import { inputsOf, type OpenedForVerify, openVerified, sourceOf, warningsOf } from './open.ts'
import type { VerifySettings } from './options.ts'
import type { VerifyResult } from './verify.ts'

/** What one shard has measured: its part of the tensors, and what all parts say alike. It judges nothing. */
export interface VerifyShard extends PartHead, Omit<PlacedMeasures, 'tensors'> {
  readonly source: VerifyResult['source']
  /** The file of the moments of inputs, as it was given. */
  readonly moments?: string
  readonly totals: {
    readonly tensors: number
    /** Of all shards. */
    readonly ofTensors: number
    /** Its share of the bytes to read. */
    readonly work: number
  }
  readonly seconds: number
  /** Where it is kept; not of its document. */
  readonly kept?: Kept
}

/** Measures a shard's part of the tensors. What an earlier run of the same has left is taken as it is. Throws as `verify` does. */
export async function verifyShard(
  settings: VerifySettings,
  shard: Shard,
  context: RunContext,
): Promise<VerifyShard> {
  const start = performance.now()
  const opened = await openVerified(settings, context)
  const head = { shard, identity: await identityOf(settings, opened, context) }
  return keptPart('verify', settings, head, context.notice, () =>
    measuredPart(settings, opened, head, context, start),
  )
}

async function measuredPart(
  settings: VerifySettings,
  opened: OpenedForVerify,
  head: PartHead,
  context: RunContext,
  start: number,
): Promise<VerifyShard> {
  const { adapter, files, base, tuned, moments } = opened
  await bringNear(files.tensors.values())
  let part: ShardPart = { isOwn: [], share: 0 }
  const chosen = (bytes: readonly number[]) => {
    part = partOf(bytes, head.shard)
    return part.isOwn
  }
  const { tensors, ...measures } = await measurePart(adapter, base, tuned, settings, context, chosen, moments)
  for (const input of inputsOf(opened)) await assertUnchanged(input)
  return {
    ...head,
    source: sourceOf(settings),
    ...(settings.moments !== undefined && { moments: settings.moments }),
    ...measures,
    totals: {
      tensors: part.isOwn.filter((isOne) => isOne).length,
      ofTensors: tensors,
      work: part.share,
    },
    warnings: warningsOf(opened, measures),
    seconds: (performance.now() - start) / 1000,
  }
}

/** All that the figures depend on. */
async function identityOf(
  settings: VerifySettings,
  { files, base, tuned, moments }: OpenedForVerify,
  { request, signal }: RunContext,
): Promise<RunIdentity> {
  const { adapter: path, base: basePath, tuned: tunedPath, include, exclude, allowUnpaired } = settings
  const facts = [
    base.config ?? tuned.config ?? null,
    files.adapterConfig ?? null,
    [files, base, tuned].map(({ metadata }) => [...metadata]),
    ...(moments === undefined ? [] : [countsOf(moments)]),
  ]
  const tensors = {
    adapter: [...files.tensors.values()],
    base: [...base.tensors.values()],
    tuned: [...tuned.tensors.values()],
    ...(moments !== undefined && { moments: [...moments.entries.values()].map(({ tensor }) => tensor) }),
  }
  return {
    inputs: await contentDigest(facts, tensors, signal),
    options: {
      ...{ version, adapter: path, base: basePath, tuned: tunedPath, include, exclude, allowUnpaired },
      alpha: settings.alpha,
      alphaZero: settings.alphaZero,
      ...(moments !== undefined && { moments: settings.moments }),
      engine: request.engine,
    },
  }
}

/** What all parts of a job hold, as one process would have measured it. */
export async function joinedMeasures(paths: readonly string[]): Promise<{
  readonly source: VerifyResult['source']
  readonly isWeighed: boolean
  readonly measures: AdapterMeasures
  readonly seconds: number
}> {
  const found = await readParts<VerifyShard>('verify', paths)
  const parts = found.map(({ part }) => part)
  const [{ source, totals, moments }] = parts
  const tensors = parts.reduce((sum, part) => sum + part.totals.tensors, 0)
  if (tensors !== totals.ofTensors) {
    const [{ path }] = found
    throw badInput(
      `${path}: its job has ${totals.ofTensors} tensors, and all parts together hold ${tensors}; run all shards again`,
      { file: path },
    )
  }
  const measures = allMeasures(parts.map((part) => ({ ...part, tensors })))
  return {
    source,
    isWeighed: moments !== undefined,
    measures,
    seconds: parts.reduce((sum, part) => sum + part.seconds, 0),
  }
}
