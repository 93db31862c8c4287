import type { RunIdentity } from '../../io/run-folder.ts'
import type { RunContext } from '../../jobs/context.ts'
import { countsOf } from '../../moments/types.ts'
import { contentDigest } from '../../shards/digest.ts'
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
    inputs: await inputsDigest(plan, context.signal),
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

/** Of the model's config and of the tensors that are factored or written. */
function inputsDigest(
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
  const model = base.config ?? tuned.config ?? null
  return contentDigest(moments === undefined ? model : [model, countsOf(moments.file)], sides, signal)
}
