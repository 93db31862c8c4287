import type { LayerResult, RankRequest } from '../../compress/layer-result.ts'
import { badInput } from '../../errors.ts'
import { assertRoom, assertUnchanged, existsNow } from '../../io/files.ts'
import { assertOnlyOurs, makeOwnFolder, readJsonFile, removeEmpty } from '../../io/own-folder.ts'
import { inWords, RUN_FILE, type RunIdentity, runFolderOf, withRunFolder } from '../../io/run-folder.ts'
import type { Patience } from '../../io/run-lock.ts'
import type { RunContext } from '../../jobs/context.ts'
import { type Shard, shardText } from '../../shards/shard.ts'
import { sharedIdentityOf } from './identity.ts'
import { comparableSpectra } from './moments.ts'
import type { ExtractSettings } from './options.ts'
import type { ExtractionPlan } from './plan.ts'
import { leastBytes } from './preview.ts'
import { decide, decompose, firstRound, mayTakeRounds } from './ranks.ts'
import type { ExtractShard } from './result.ts'
import { areAllNamed, bytesDone, layerShapes, openRunFolder, type RunFolder } from './run-folder.ts'
import { SHARD_GONE_AFTER, shardFolders, shardOutput } from './shard-folders.ts'
import { assertSameJob, isOfSharedJob, isShared } from './shared-job.ts'
import { splitOf } from './split.ts'
import { isUseless } from './useless.ts'

/** Decomposes a shard's part of the layers into its own folder within the job's. Throws as `extract` does. */
export async function extractShard(
  plan: ExtractionPlan,
  settings: ExtractSettings,
  shard: Shard,
  context: RunContext,
  start: number,
): Promise<ExtractShard> {
  const identity = await sharedIdentityOf(plan, settings, context)
  const folder = await openShard(plan, settings, shard, identity, context)
  const job = runFolderOf(settings.output)
  try {
    const part = splitOf(plan, settings, firstRound(plan, settings).first, shard)
    const own = plan.layers.filter((_, i) => part.isOwn[i])
    const { kept } = leastBytes({ ...plan, layers: own }, settings)
    await assertRoom(folder.path, Math.max(0, kept - (await bytesDone(shardOutput(settings.output, shard)))))
    if (folder.damaged.length > 0) {
      context.notice(`${folder.path}: ${folder.damaged[0]}: not what a run of this wrote, computed again`)
    }
    const done = await decomposed(plan, settings, folder, shard, context)
    for (const input of [plan.base, plan.tuned]) await assertUnchanged(input)
    return {
      source: { base: settings.base, tuned: settings.tuned },
      rule: settings.rule,
      layout: settings.layout,
      shard,
      round: done.round,
      isSettled: done.isSettled,
      layers: done.layers.map(({ round, result: { name, spectrum, engine, seconds } }) => ({
        name,
        shape: [spectrum.rows, spectrum.columns],
        round,
        rank: spectrum.singularValues.length,
        engine,
        seconds,
      })),
      totals: { layers: own.length, ofLayers: plan.layers.length, work: part.share },
      resumed: done.resumed,
      kept: { path: folder.path, bytes: await bytesDone(shardOutput(settings.output, shard)) },
      warnings: plan.warnings,
      seconds: (performance.now() - start) / 1000,
      engine: [...new Set(done.layers.map(({ result: { engine } }) => engine))].sort().join(' + '),
    }
  } catch (error) {
    if (!(await isUseless(error, plan, folder))) throw withRunFolder(error, folder.path)
    await folder.remove()
    await removeEmpty(job)
    throw error
  } finally {
    folder.release()
  }
}

interface Decomposed {
  readonly round: number
  readonly isSettled: boolean
  readonly layers: readonly { readonly round: number; readonly result: LayerResult }[]
  readonly resumed: number
}

/** Round after round as far as what all shards have done tells what the next one asks. */
async function decomposed(
  plan: ExtractionPlan,
  settings: ExtractSettings,
  folder: RunFolder,
  shard: Shard,
  context: RunContext,
): Promise<Decomposed> {
  const { budget, first } = firstRound(plan, settings)
  const layers: { round: number; result: LayerResult }[] = []
  const results: LayerResult[] = []
  let resumed = 0
  let asks: readonly (RankRequest | null)[] = first
  for (let round = 1; ; round++) {
    const { isOwn } = splitOf(plan, settings, asks, shard)
    const found = asks.map((ask, i) => (ask === null ? undefined : folder.find(round, i, ask)))
    const isWhole = asks.every((ask, i) => ask === null || found[i] !== undefined)
    const mine = asks.map((ask, i) => (isOwn[i] ? ask : null))
    resumed += mine.filter((ask, i) => ask !== null && found[i] !== undefined).length
    for (const result of (await decompose(plan, settings, folder, round, mine, context)).values()) {
      layers.push({ round, result })
    }
    if (!mayTakeRounds(settings)) return { round, isSettled: true, layers, resumed }
    if (!isWhole) return { round, isSettled: false, layers, resumed }
    for (const [i, result] of found.entries()) if (result !== undefined) results[i] = result
    const decision = decide(comparableSpectra(results), settings, budget)
    if ('ranks' in decision) return { round, isSettled: true, layers, resumed }
    asks = await folder.asksOf(round + 1, () => decision.asks)
  }
}

/** Tries to open a folder in one that others may remove, before that is called a failure. */
const MOST_TRIES = 5

/** Opens a shard's folder within the job's. Throws `bad-input` where what is there is of another job. */
async function openShard(
  plan: ExtractionPlan,
  settings: ExtractSettings,
  shard: Shard,
  identity: RunIdentity,
  { notice, signal }: RunContext,
): Promise<RunFolder> {
  const { output, restart } = settings
  const job = runFolderOf(output)
  const patience: Patience = {
    goneAfter: SHARD_GONE_AFTER,
    wait: { notice, ...(signal !== undefined && { signal }) },
  }
  for (let tries = 1; ; tries++) {
    let isNew = false
    try {
      isNew = await makeOwnFolder(job)
      await assertOnlyOurs(job, isOfSharedJob)
      await refuseWhole(job)
      const others = (await shardFolders(job)).filter(
        ({ index, of }) => index !== shard.index || of !== shard.of,
      )
      if (!restart) for (const other of others) await assertSameJob(other, shard.of, identity)
      const own = `${shardOutput(output, shard)}.partial`
      const paths = others.map(({ path }) => path)
      // what they found is needed where the next round depends on it, and read only once it is whole
      const isNeeded = mayTakeRounds(settings) && (await areAllNamed(plan.layers.length, [own, ...paths]))
      return await openRunFolder(shardOutput(output, shard), identity, layerShapes(plan), {
        restart,
        patience,
        parts: isNeeded ? paths : [],
        lasts: true,
      })
    } catch (error) {
      if (!existsNow(job) && tries < MOST_TRIES) continue
      if (isNew) await removeEmpty(job)
      throw inWords(error, 'work in it', job)
    }
  }
}

/** Throws `bad-input` where one process alone is at the whole of it. */
async function refuseWhole(job: string): Promise<void> {
  const run = await readJsonFile(`${job}/${RUN_FILE}`)
  if (run === undefined || isShared(run)) return
  throw badInput(
    `${job}: holds an unfinished run that is not in shards; let that end, or write to another --out`,
    { file: job },
  )
}

/** Throws `bad-input` where the run folder of an output holds shards: a run of all layers would leave theirs aside. */
export async function refuseShards(output: string): Promise<void> {
  const job = runFolderOf(output)
  const [first] = await shardFolders(job)
  if (first === undefined) return
  throw badInput(
    `${job}: holds shards of a job (${shardText(first)}); --join assembles them, or delete it to do all anew`,
    { file: job },
  )
}
