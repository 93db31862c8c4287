import { badInput } from '../../errors.ts'
import { type EntryKind, readJsonFile } from '../../io/own-folder.ts'
import { isOurEntry, isSame, RUN_FILE, type RunIdentity } from '../../io/run-folder.ts'
import { SHARED_CONTENTS } from './run-folder.ts'
import { type ShardFolder, shardText } from './shards.ts'

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
  const other = otherOf(run, identity)
  if (other === undefined) return
  throw badInput(
    `${path}: shard ${shardText(shard)} is of other ${other} than this; ${cure('the same ones')}`,
    {
      file: path,
    },
  )
}

/** What of a run is another's. */
function otherOf(run: Record<string, unknown>, { inputs, options }: RunIdentity): string | undefined {
  if (!isSame(run.options, options)) {
    const names = differing(run.options, options)
    return `options${names.length > 0 ? ` (${names.join(', ')})` : ''}`
  }
  return isSame(run.inputs, inputs) ? undefined : 'inputs'
}

function differing(a: unknown, b: unknown): string[] {
  const [one, other] = [a ?? {}, b ?? {}] as Record<string, unknown>[]
  const names = new Set([...Object.keys(one), ...Object.keys(other)])
  return [...names].filter((name) => !isSame(one[name], other[name]))
}
