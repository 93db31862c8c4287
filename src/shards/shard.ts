import { badUsage } from '../errors.ts'

/** Which part of a job that several processes share: the `index`-th of `of`, from 1 on. */
export interface Shard {
  readonly index: number
  readonly of: number
}

/** As it is written on the command line: 2/4. */
export const shardText = ({ index, of }: Shard): string => `${index}/${of}`

/** As it stands in the names of files and folders. */
export const shardName = ({ index, of }: Shard): string => `shard-${index}-of-${of}`

/** The shard that a name without its ending is of; undefined where it is none. */
export function shardOfName(name: string): Shard | undefined {
  const [, index, of] = /^shard-([1-9]\d*)-of-([1-9]\d*)$/.exec(name) ?? []
  return index === undefined ? undefined : { index: Number(index), of: Number(of) }
}

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
