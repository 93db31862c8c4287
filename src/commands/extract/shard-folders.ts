import { basename } from 'node:path'
import { entriesIfAny } from '../../io/files.ts'
import { runFolderOf } from '../../io/run-folder.ts'
import { type Shard, shardName, shardOfName } from '../../shards/shard.ts'

/**
 * After so long without a sign of life, in milliseconds, a shard's process that can't be seen from here counts as gone: six signs missed, and
 * a minute for which a client of NFS may show an old time. To be wrong is to do its work twice: both write the same bytes, each file whole.
 */
export const SHARD_GONE_AFTER = 3 * 60_000

/** What a shard's run folder, `adapter.partial/shard-2-of-4.partial`, is beside: nothing ever stands there. */
export const shardOutput = (output: string, shard: Shard): string =>
  `${runFolderOf(output)}/${shardName(shard)}`

export const isShardFolder = (name: string): boolean => shardOfFolder(name) !== undefined

/** The folder of one shard, and which that is. */
export interface ShardFolder extends Shard {
  readonly path: string
}

/** The shards' folders in a folder, or the folder itself where it is a shard's; sorted by their index. */
export async function shardFolders(folder: string): Promise<ShardFolder[]> {
  const own = shardOfFolder(basename(folder))
  if (own !== undefined) return [{ ...own, path: folder }]
  return (await entriesIfAny(folder))
    .flatMap((name) => {
      const shard = shardOfFolder(name)
      return shard === undefined ? [] : [{ ...shard, path: `${folder}/${name}` }]
    })
    .sort((a, b) => a.index - b.index)
}

const FOLDER_ENDING = '.partial'

const shardOfFolder = (name: string): Shard | undefined =>
  name.endsWith(FOLDER_ENDING) ? shardOfName(name.slice(0, -FOLDER_ENDING.length)) : undefined
