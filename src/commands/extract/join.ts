import { badInput, type LoraSvdError } from '../../errors.ts'
import { runFolderOf } from '../../io/run-folder.ts'
import type { RunContext } from '../../jobs/context.ts'
import { firstOf, shownName } from '../../text/names.ts'
import { counted } from '../../text/quote.ts'
import { sharedIdentityOf } from './identity.ts'
import type { ExtractSettings } from './options.ts'
import type { ExtractionPlan } from './plan.ts'
import { firstRound } from './ranks.ts'
import { layerShapes, openRunFolder, type RunFolder } from './run-folder.ts'
import { type ShardFolder, shardFolders } from './shard-folders.ts'
import { assertSameJob } from './shared-job.ts'
import { splitOf } from './split.ts'

/**
 * The run folder of an output with the layers of all shards: of those in it, and of those in the folders `from`. Throws `bad-input` where one
 * of them is of other inputs or options, and where layers are missing, naming them and whose they are.
 */
export async function joinedFolder(
  plan: ExtractionPlan,
  settings: ExtractSettings,
  from: readonly string[],
  context: RunContext,
): Promise<RunFolder> {
  const { output } = settings
  const shards = await allShards(runFolderOf(output), from)
  const identity = await sharedIdentityOf(plan, settings, context)
  const { of } = shards[0]
  for (const shard of shards) await assertSameJob(shard, of, identity)
  const folder = await openRunFolder(output, identity, layerShapes(plan), {
    restart: false,
    parts: shards.map(({ path }) => path),
    isShared: true,
  })
  try {
    refuseMissing(plan, settings, folder, of)
  } catch (error) {
    // shards lie in it, unless all are elsewhere
    if (shards.every(({ path }) => !path.startsWith(`${folder.path}/`)) && (await folder.isEmpty())) {
      await folder.remove()
    }
    folder.release()
    throw error
  }
  return { ...folder, joined: { shards: of, layers: plan.layers.length } }
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
    `${job}: holds no shard; run the same command with --shard 1/4 to 4/4 first, or name after --join where they are`,
    { file: job },
  )
}

/** Throws `bad-input` where a layer of the first round is not there. */
function refuseMissing(plan: ExtractionPlan, settings: ExtractSettings, folder: RunFolder, of: number): void {
  const { first } = firstRound(plan, settings)
  const missing = first.flatMap((ask, i) => (folder.find(1, i, ask) === undefined ? [i] : []))
  if (missing.length > 0) throw missingLayers(plan, settings, folder, { first, missing, of })
}

function missingLayers(
  plan: ExtractionPlan,
  settings: ExtractSettings,
  folder: RunFolder,
  {
    first,
    missing,
    of,
  }: { first: ReturnType<typeof firstRound>['first']; missing: readonly number[]; of: number },
): LoraSvdError {
  const indices = Array.from({ length: of }, (_, i) => i + 1)
  const whose = indices.filter((index) => {
    const { isOwn } = splitOf(plan, settings, first, { index, of })
    return missing.some((i) => isOwn[i])
  })
  const names = firstOf(missing.map((i) => shownName(plan.layers[i].pair.name)))
  const again = whose.map((index) => `--shard ${index}/${of}`).join(', ')
  const damaged =
    folder.damaged.length > 0 ? ` (${folder.damaged[0]} is damaged, and counts as not done)` : ''
  return badInput(
    `${folder.path}: ${counted(missing.length, 'layer')} of ${plan.layers.length} ${missing.length === 1 ? 'is' : 'are'} missing${damaged}: ${names}; wait where one is still at work, else run again ${again}, then --join`,
    { file: folder.path },
  )
}
