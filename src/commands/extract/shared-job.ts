import { badInput } from '../../errors.ts'
import { type EntryKind, readJsonFile } from '../../io/own-folder.ts'
import { isOurEntry, RUN_FILE, type RunIdentity } from '../../io/run-folder.ts'
import { differenceOf } from '../../shards/difference.ts'
import { shardText } from '../../shards/shard.ts'
import { SHARED_CONTENTS } from './run-folder.ts'
import type { ShardFolder } from './shard-folders.ts'

/** Whether what is written down of a run says that it is of a job in shards. */
export const isShared = (run: Record<string, unknown>): boolean =>
  (run.options as Record<string, unknown> | undefined)?.isInShards === true

/** Whether a run of a job in shards leaves such a thing in the job's folder. */
export const isOfSharedJob = (name: string, entry: EntryKind): boolean =>
  isOurEntry(SHARED_CONTENTS)(name, entry)

/**
 * Throws `bad-input`, naming it, where a shard is one of another number of shards, or of other inputs or options. A folder in which nothing
 * is written down yet passes: it holds no layer either.
 */
export async function assertSameJob(
  { path, ...shard }: ShardFolder,
  of: number,
  identity: RunIdentity,
): Promise<void> {
  const cure = (same: string) =>
    `give ${same} to go on with it, or where these are meant delete it, or write to another --out`
  if (shard.of !== of) {
    throw badInput(
      `${path}: is shard ${shardText(shard)}, and this job has ${of} shards; ${cure('the same number')}`,
      { file: path },
    )
  }
  const run = await readJsonFile(`${path}/${RUN_FILE}`)
  if (run === undefined) return
  const other = differenceOf(run, identity)
  if (other === undefined) return
  throw badInput(
    `${path}: shard ${shardText(shard)} is of other ${other} than this; ${cure('the same ones')}`,
    {
      file: path,
    },
  )
}
