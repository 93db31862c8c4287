import { createHash, type Hash } from 'node:crypto'
import { withBytes } from '../../checkpoint/read.ts'
import type { StoredTensor } from '../../checkpoint/types.ts'
import type { RunIdentity } from '../../io/run-folder.ts'
import { openFile } from '../../io/source.ts'
import type { RunContext } from '../../jobs/context.ts'
import { version } from '../../version.ts'
import type { ExtractSettings } from './options.ts'
import type { ExtractionPlan } from './plan.ts'

/** All that the adapter's bytes depend on, where the inputs are the very same files. */
export const identityOf = (
  plan: ExtractionPlan,
  settings: ExtractSettings,
  context: RunContext,
): RunIdentity => ({
  inputs: [
    plan.base.files,
    plan.tuned.files,
    ...(plan.moments === undefined ? [] : [plan.moments.file.files]),
  ],
  options: optionsOf(plan, settings, context),
})

/** The same where each machine may have copies of the inputs: they are told by what is in them. How many shards there are is no part of it. */
export async function sharedIdentityOf(
  plan: ExtractionPlan,
  settings: ExtractSettings,
  context: RunContext,
): Promise<RunIdentity> {
  return {
    inputs: await contentDigest(plan, context.signal),
    options: { ...optionsOf(plan, settings, context), isInShards: true },
  }
}

function optionsOf({ layers }: ExtractionPlan, settings: ExtractSettings, { request }: RunContext) {
  const { seed, memory, dryRun, restart, force, output, shard, join, base, tuned, ...rest } = settings
  return {
    version,
    ...rest,
    base,
    tuned,
    seed: String(seed),
    engine: request.engine,
    layers: layers.map(({ pair }) => pair.name),
  }
}

/** Read at the beginning, in the middle and at the end of each tensor: training moves nearly all of its numbers. */
const SAMPLE_BYTES = 4096

/**
 * A digest of the model's config and of the tensors that are factored or written: names, dtypes, shapes, and a sample of their bytes, so
 * that two fine-tunes of one model are told apart without reading them whole.
 */
async function contentDigest(
  { base, tuned, layers, exact, saved, inModel, moments }: ExtractionPlan,
  signal: AbortSignal | undefined,
): Promise<string> {
  const pairs = layers.map(({ pair }) => pair)
  const sides = {
    base: [
      ...pairs.map(({ base: { tensor } }) => base.tensors.get(tensor)!),
      ...exact.map((one) => one.base),
    ],
    tuned: [
      ...pairs.map(({ tuned: { tensor } }) => tuned.tensors.get(tensor)!),
      ...exact.map((one) => one.tuned),
      ...saved.flatMap(({ tensors }) => tensors).map((name) => inModel.get(name)!),
    ],
    ...(moments !== undefined && { moments: moments.ofLayers.flatMap((one) => one?.tensor ?? []) }),
  }
  const hash = createHash('sha256').update(JSON.stringify(base.config ?? tuned.config ?? null))
  for (const [side, tensors] of Object.entries(sides)) {
    // experts of one stack share a tensor
    for (const tensor of new Set(tensors)) {
      signal?.throwIfAborted()
      const { name, dtype, shape, bytes } = tensor
      hash.update(JSON.stringify([side, name, dtype, shape, bytes]))
      await addSample(hash, tensor)
    }
  }
  return hash.digest('hex')
}

async function addSample(hash: Hash, { source, name, bytes }: StoredTensor): Promise<void> {
  if (source.kind === 'memory') {
    const { buffer, byteOffset, byteLength } = source.matrix.data
    hash.update(new Uint8Array(buffer, byteOffset, byteLength))
    return
  }
  if (source.kind !== 'file') {
    return withBytes(source, name, async (read) => {
      for (const [begin, end] of sampleOf(bytes)) hash.update(await read(begin, end))
    })
  }
  const file = await openFile(source.file)
  try {
    for (const [begin, end] of sampleOf(file.byteLength)) hash.update(await file.read(begin, end))
  } finally {
    await file.close()
  }
}

const sampleOf = (bytes: number): [begin: number, end: number][] => {
  const last = Math.max(0, bytes - SAMPLE_BYTES)
  return [0, Math.floor(last / 2), last].map((begin) => [begin, Math.min(bytes, begin + SAMPLE_BYTES)])
}
