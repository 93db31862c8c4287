import { basename } from 'node:path'
import { badUsage } from '../../errors.ts'
import { entriesIfAny } from '../../io/files.ts'
import { runFolderOf } from '../../io/run-folder.ts'

/** Which part of a job that several processes share: the `index`-th of `of`, from 1 on. */
export interface Shard {
  readonly index: number
  readonly of: number
}

/** As it is written on the command line: 2/4. */
export const shardText = ({ index, of }: Shard): string => `${index}/${of}`

/** Reads `2/4`. Throws `bad-usage`. */
export function parseShard(text: string): Shard {
  const [, index, of] = /^(\d+)\/(\d+)$/.exec(text) ?? []
  const shard = { index: Number(index), of: Number(of) }
  if (isShard(shard)) return shard
  throw badUsage(`expected which part of how many, counted from 1, such as 2/4, or auto, got '${text}'`)
}

/** Whether a value is a part that there can be. */
export function isShard(value: unknown): value is Shard {
  if (typeof value !== 'object' || value === null) return false
  const { index, of } = value as Record<string, unknown>
  const isCount = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 1
  return isCount(index) && isCount(of) && index <= of
}

/** The run folder of a shard, in that of the whole job: `adapter.partial/shard-2-of-4.partial`. */
const SHARD_FOLDER = /^shard-([1-9]\d*)-of-([1-9]\d*)\.partial$/

/** What a shard's run folder is beside: nothing ever stands there. */
export const shardOutput = (output: string, { index, of }: Shard): string =>
  `${runFolderOf(output)}/shard-${index}-of-${of}`

export const isShardFolder = (name: string): boolean => SHARD_FOLDER.test(name)

/** The folder of one shard, and which that is. */
export interface ShardFolder extends Shard {
  readonly path: string
}

/** The shards' folders in a folder, or the folder itself where it is a shard's; sorted by their index. */
export async function shardFolders(folder: string): Promise<ShardFolder[]> {
  const own = shardOfName(basename(folder))
  if (own !== undefined) return [{ ...own, path: folder }]
  return (await entriesIfAny(folder))
    .flatMap((name) => {
      const shard = shardOfName(name)
      return shard === undefined ? [] : [{ ...shard, path: `${folder}/${name}` }]
    })
    .sort((a, b) => a.index - b.index)
}

function shardOfName(name: string): Shard | undefined {
  const [, index, of] = SHARD_FOLDER.exec(name) ?? []
  return index === undefined ? undefined : { index: Number(index), of: Number(of) }
}

/**
 * Whose part each piece of work is: the largest first, each to the shard that has least so far, the first of these. The same for the same
 * costs. Gives the index of the shard, from 1 on; 0 where there is nothing to do.
 */
export function splitWork(costs: readonly (number | null)[], of: number): number[] {
  const shards = costs.map(() => 0)
  const loads = new Float64Array(Math.min(of, Math.max(1, costs.length)))
  const bySize = costs.flatMap((cost, at) => (cost === null ? [] : [{ cost, at }]))
  for (const { cost, at } of bySize.sort((a, b) => b.cost - a.cost || a.at - b.at)) {
    let least = 0
    for (let i = 1; i < loads.length; i++) if (loads[i] < loads[least]) least = i
    loads[least] += cost
    shards[at] = least + 1
  }
  return shards
}
