import { badInput, type LoraSvdError } from '../../errors.ts'
import { existsNow } from '../../io/files.ts'
import { type RunIdentity, runFolderOf } from '../../io/run-folder.ts'
import { workerIn } from '../../io/run-lock.ts'
import type { RunContext } from '../../jobs/context.ts'
import { shardFlags, shardText } from '../../shards/shard.ts'
import { firstOf, shownName } from '../../text/names.ts'
import { counted } from '../../text/quote.ts'
import { sharedIdentityOf } from './identity.ts'
import type { ExtractSettings } from './options.ts'
import type { ExtractionPlan } from './plan.ts'
import { firstRound, mayTakeRounds } from './ranks.ts'
import type { JoinedShard, PlannedJoin } from './result.ts'
import { type FoundLayers, findLayers, layerShapes, openRunFolder, type RunFolder } from './run-folder.ts'
import { SHARD_GONE_AFTER, type ShardFolder, shardFolders } from './shard-folders.ts'
import { assertSameJob } from './shared-job.ts'
import { allSplits } from './split.ts'

/**
 * The run folder of an output with the layers of all shards: of those in it, and of those in the folders `from`. Throws `bad-input` where one
 * of them is of other inputs or options, where layers are missing, naming them and whose they are, and where a shard is still at work.
 */
export async function joinedFolder(
  plan: ExtractionPlan,
  settings: ExtractSettings,
  from: readonly string[],
  context: RunContext,
): Promise<RunFolder> {
  const { output } = settings
  const { shards, identity } = await sameShards(plan, settings, from, context)
  const folder = await openRunFolder(output, identity, layerShapes(plan), {
    restart: false,
    parts: shards.map(({ path }) => path),
    isShared: true,
  })
  try {
    const join = await joinOf(plan, settings, shards, folder)
    if (!join.isReady) throw notReady(plan, folder.path, join)
    return { ...folder, joined: { shards: shards[0].of, layers: plan.layers.length } }
  } catch (error) {
    // shards lie in it, unless all are elsewhere
    if (shards.every(({ path }) => !isIn(folder.path, path)) && (await folder.isEmpty())) {
      await folder.remove()
    }
    folder.release()
    throw error
  }
}

/** What a join would find, of which nothing is touched. Throws as the join does, but for what is missing or still at work. */
export async function plannedJoin(
  plan: ExtractionPlan,
  settings: ExtractSettings,
  from: readonly string[],
  context: RunContext,
): Promise<PlannedJoin> {
  const { shards, identity } = await sameShards(plan, settings, from, context)
  const job = runFolderOf(settings.output)
  const folders = [...(existsNow(job) ? [job] : []), ...shards.map(({ path }) => path)]
  return joinOf(plan, settings, shards, await findLayers(folders, identity, layerShapes(plan)))
}

/** Throws `bad-input` where folders of shards stand in the place of the models, which come first. */
export async function refuseShardsAsModels({ base, tuned }: ExtractSettings): Promise<void> {
  for (const [name, path] of Object.entries({ '<base>': base, '<tuned>': tuned })) {
    if ((await shardFolders(path)).length === 0) continue
    throw badInput(
      `${path}: holds shards, and stands where ${name} is expected: name <base> and <tuned> first, then the folders of shards`,
      { file: path },
    )
  }
}

const isIn = (folder: string, path: string) => path.startsWith(`${folder}/`)

/** All shards that there are, each of this very job. */
async function sameShards(
  plan: ExtractionPlan,
  settings: ExtractSettings,
  from: readonly string[],
  context: RunContext,
): Promise<{ shards: readonly ShardFolder[]; identity: RunIdentity }> {
  const shards = await allShards(runFolderOf(settings.output), from)
  const identity = await sharedIdentityOf(plan, settings, context)
  for (const shard of shards) await assertSameJob(shard, shards[0].of, identity)
  return { shards, identity }
}

async function allShards(job: string, from: readonly string[]): Promise<ShardFolder[]> {
  const shards = await shardFolders(job)
  for (const path of from) {
    const there = await shardFolders(path.replace(/(?<=.)[/\\]+$/, ''))
    if (there.length === 0) {
      throw badInput(
        `${path}: holds no shard; name the .partial folder in which --shard has left shard-1-of-4.partial, or such a folder itself`,
        { file: path },
      )
    }
    shards.push(...there)
  }
  if (shards.length > 0) return shards
  throw badInput(
    `${job}: holds no shard; run the same command with --shard 1/4 to 4/4 first, or name after <tuned> the folders where they are`,
    { file: job },
  )
}

async function joinOf(
  plan: ExtractionPlan,
  settings: ExtractSettings,
  shards: readonly ShardFolder[],
  { find, damaged }: Pick<FoundLayers, 'find' | 'damaged'>,
): Promise<PlannedJoin> {
  const job = runFolderOf(settings.output)
  const [{ of }] = shards
  const { first } = firstRound(plan, settings)
  const states: JoinedShard[] = []
  for (const [before, own] of allSplits(plan, settings, first, of).entries()) {
    const index = before + 1
    const missing = own.filter((i) => find(1, i, first[i]) === undefined)
    const folders = shards.filter((shard) => shard.index === index)
    const worker = await workerOf(folders, job, missing.length > 0)
    states.push({
      index,
      of,
      layers: own.length,
      missing: missing.map((i) => plan.layers[i].pair.name),
      ...(worker !== undefined && { worker }),
    })
  }
  return {
    shards: states,
    damaged,
    mayTakeRounds: mayTakeRounds(settings),
    isReady: states.every(({ missing, worker }) => missing.length === 0 && worker === undefined),
  }
}

/**
 * Who is at work on a shard. Folders elsewhere may be copies, with the lock of a process that is gone or has nothing to do with them: of
 * these only one counts that can be seen, and that is waited for.
 */
async function workerOf(
  folders: readonly ShardFolder[],
  job: string,
  isWaitedFor: boolean,
): Promise<string | undefined> {
  for (const { path } of folders) {
    const isShared = isIn(job, path)
    if (!isShared && !isWaitedFor) continue
    const worker = await workerIn(path, SHARD_GONE_AFTER, isShared ? job : undefined)
    if (worker !== undefined) return worker
  }
  return undefined
}

/** Why a join can't be: which layers are missing, who is still at work on them, and what to run again. */
function notReady({ layers }: ExtractionPlan, path: string, { shards, damaged }: PlannedJoin): LoraSvdError {
  const missing = shards.flatMap((shard) => shard.missing)
  const atWork = shards.filter(({ worker }) => worker !== undefined)
  const again = shards.filter((shard) => shard.missing.length > 0 && shard.worker === undefined)
  const harm = damaged.length > 0 ? ` (${damaged[0]} is damaged, and counts as not done)` : ''
  const what =
    missing.length === 0
      ? 'all layers are there, but not all shards have ended'
      : `${counted(missing.length, 'layer')} of ${layers.length} ${missing.length === 1 ? 'is' : 'are'} missing${harm}: ${firstOf(missing.map(shownName))}`
  const todo = [
    ...atWork.map((shard) => `shard ${shardText(shard)} is still at work (${shard.worker}): wait for it`),
    ...(again.length > 0 ? [`run again ${shardFlags(again)}`] : []),
  ]
  return badInput(`${path}: ${what}; ${todo.join('; ')}, then --join`, { file: path })
}
