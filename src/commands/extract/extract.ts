import { availableParallelism } from 'node:os'
import { filesIn } from '../../checkpoint/near.ts'
import { openCheckpoint } from '../../checkpoint/open.ts'
import { elementCount, holdingOpen, ifFew } from '../../checkpoint/read.ts'
import type { Checkpoint } from '../../checkpoint/types.ts'
import { assertResultFree } from '../../combine/place.ts'
import { badInput } from '../../errors.ts'
import { assertRoom, assertUnchanged } from '../../io/files.ts'
import { namedOutput, placedByRun, withRunFolder } from '../../io/run-folder.ts'
import { inContext, type RunContext } from '../../jobs/context.ts'
import { adapterOf } from '../../lora/read/adapter.ts'
import { inNamesOf, refuseGguf } from '../../lora/read/gguf-base.ts'
import type { Shard } from '../../shards/shard.ts'
import { buildAdapter } from './build.ts'
import { destinationOf } from './destination.ts'
import { identityOf } from './identity.ts'
import { joinedFolder, plannedJoin, refuseShardsAsModels } from './join.ts'
import { plannedMoments } from './moments.ts'
import { type ExtractOptions, type ExtractSettings, extractSettings } from './options.ts'
import { place } from './output.ts'
import { type ExtractionPlan, planExtraction } from './plan.ts'
import { leastBytes, preview } from './preview.ts'
import type { ExtractPreview, ExtractResult, ExtractShard } from './result.ts'
import { bytesDone, layerShapes, openRunFolder, type RunFolder } from './run-folder.ts'
import { extractShard, refuseShards } from './shard-run.ts'
import { isUseless } from './useless.ts'

/**
 * Makes a LoRA adapter from a base and its fine-tune: plans, decomposes, chooses ranks, writes, and measures what was written. What is
 * done is kept in `<out>.partial`, from which the same call goes on after it was interrupted or killed. With `shard` it decomposes a part of the
 * layers and stops there; with `join` it takes what shards have done for its own. Throws LoraSvdError:
 * `bad-usage` and `bad-input` for what can't be done, `output-exists`, `not-finite` on NaN and infinity, `system` where the machine
 * fails, `interrupted`.
 */
export function extract(options: ExtractOptions & { readonly dryRun: true }): Promise<ExtractPreview>
export function extract(
  options: ExtractOptions & { readonly dryRun?: false | undefined; readonly shard: Shard },
): Promise<ExtractShard>
export function extract(
  options: ExtractOptions & { readonly dryRun?: false | undefined; readonly shard?: undefined },
): Promise<ExtractResult>
export function extract(options: ExtractOptions): Promise<ExtractResult | ExtractPreview | ExtractShard>
export async function extract(
  options: ExtractOptions,
): Promise<ExtractResult | ExtractPreview | ExtractShard> {
  const settings = extractSettings(options)
  return inContext({ ...options, memory: settings.memory }, (context) =>
    extracted({ ...settings, output: namedOutput(settings.output) }, context),
  )
}

async function extracted(
  settings: ExtractSettings,
  context: RunContext,
): Promise<ExtractResult | ExtractPreview | ExtractShard> {
  const start = performance.now()
  if (settings.join !== undefined) await refuseShardsAsModels(settings)
  const stored = await openWeights(settings.base, context)
  startThreads(stored, settings, context)
  const tuned = await openWeights(settings.tuned, context)
  refuseGguf(tuned)
  const base = await inNamesOf(stored, tuned)
  const weights = [...base.tensors.values(), ...tuned.tensors.values()]
  return holdingOpen(ifFew(filesIn(weights)), () => extractedFrom(base, tuned, settings, context, start))
}

async function extractedFrom(
  base: Checkpoint,
  tuned: Checkpoint,
  settings: ExtractSettings,
  context: RunContext,
  start: number,
): Promise<ExtractResult | ExtractPreview | ExtractShard> {
  const { output, force, restart, shard, join } = settings
  const placed = restart ? undefined : await placedByRun(output)
  const destination = destinationOf(base, tuned, settings)
  const mayReplace = force || placed !== undefined
  await assertResultFree(destination.format, [base, tuned], { output, force: mayReplace })
  const unweighed = await planExtraction(base, tuned, settings, context.signal, destination)
  const moments = await plannedMoments(settings.moments, unweighed.layers, base, tuned, context)
  const plan = moments === undefined ? unweighed : { ...unweighed, moments }
  if (settings.dryRun) {
    const planned = join && (await plannedJoin(plan, settings, join, context))
    return preview(plan, settings, planned)
  }

  if (shard !== undefined) return extractShard(plan, settings, shard, context, start)
  if (join === undefined) await refuseShards(output)
  const folder =
    join === undefined
      ? await openRunFolder(output, identityOf(plan, settings, context), layerShapes(plan), settings)
      : await joinedFolder(plan, settings, join, context)
  try {
    const built = await run(plan, settings, folder, context, () =>
      buildAdapter(plan, settings, folder, context, start),
    )
    const left = await folder.remove()
    if (left !== undefined) context.notice(left)
    return built
  } catch (error) {
    if (join !== undefined || !(await isUseless(error, plan, folder))) throw withRunFolder(error, folder.path)
    await folder.remove()
    throw error
  } finally {
    folder.release()
  }
}

/** Builds the adapter in the run folder and gives it its final name. */
async function run(
  plan: ExtractionPlan,
  settings: ExtractSettings,
  folder: RunFolder,
  { notice }: RunContext,
  build: () => Promise<ExtractResult>,
): Promise<ExtractResult> {
  const { base, tuned, destination } = plan
  const { output } = settings
  const { placed, found, damaged } = folder
  const force = settings.force || placed !== undefined
  // while the folder was another's, that may have put its adapter there
  await assertResultFree(destination.format, [base, tuned], { output, force })
  const { kept, adapter } = leastBytes(plan, settings)
  await assertRoom(output, Math.max(0, kept - (await bytesDone(output))) + adapter)
  if (found > 0 && settings.join === undefined)
    notice(`going on with an unfinished run: ${found} layers are done`)
  if (damaged.length > 0) {
    const more = damaged.length > 1 ? ` and ${damaged.length - 1} more` : ''
    notice(
      `${folder.path}: ${damaged[0]}${more}: not what a run of this wrote, ${settings.join === undefined ? 'computed again' : 'not used'}`,
    )
  }
  const built = await build()
  const { moments } = plan
  for (const input of [base, tuned, ...(moments === undefined ? [] : [moments.file])])
    await assertUnchanged(input)
  await folder.assertHeld()
  await place(plan, settings, folder)
  return built
}

/** From so many weights on there is work for worker threads, which start while it is planned. */
const LARGE = 2 ** 24

function startThreads(
  { tensors }: Checkpoint,
  { dryRun, join }: ExtractSettings,
  { early, request }: RunContext,
): void {
  if (dryRun || join !== undefined) return
  const matrices = [...tensors.values()].filter(({ shape }) => shape.length > 1)
  const weights = matrices.reduce((sum, matrix) => sum + elementCount(matrix), 0)
  const { threads = availableParallelism() } = request
  if (weights >= LARGE) early?.start('extract', Math.min(threads, matrices.length))
}

async function openWeights(path: string, { opening }: RunContext): Promise<Checkpoint> {
  const checkpoint = await openCheckpoint(path, opening)
  if ((await adapterOf(checkpoint)) === undefined) return checkpoint
  throw badInput(`${path}: is an adapter; name the weights that it was put into, or those it came from`, {
    file: path,
  })
}
