import { badUsage } from '../errors.ts'

/** Which part of a job that several processes share: the `index`-th of `of`, from 1 on. */
export interface Shard {
  readonly index: number
  readonly of: number
}

/**
 * As many as a job can have: as a Job of Kubernetes, whose indices end there (kubernetes.io, "Indexed Job"). `--join` looks for each of them, and
 * a slip of the finger must not make it look without end.
 */
export const MOST_SHARDS = 100_000

/** As it is written on the command line: 2/4. */
export const shardText = ({ index, of }: Shard): string => `${index}/${of}`

/** Named at most: who runs them again has a line for each, or starts the whole array. */
const LISTED = 50

/** The flags that run these shards, as a list. */
export function shardFlags(shards: readonly Shard[]): string {
  const others = shards.length - LISTED
  const flags = shards.slice(0, LISTED).map((shard) => `--shard ${shardText(shard)}`)
  return `${flags.join(', ')}${others > 0 ? `, and ${others} more` : ''}`
}

/** As it stands in the names of files and folders. */
export const shardName = ({ index, of }: Shard): string => `shard-${index}-of-${of}`

/** The shard that a name without its ending is of; undefined where it is none. */
export function shardOfName(name: string): Shard | undefined {
  const [, index, of] = /^shard-([1-9]\d*)-of-([1-9]\d*)$/.exec(name) ?? []
  const shard = { index: Number(index), of: Number(of) }
  return isShard(shard) ? shard : undefined
}

/** Reads `2/4`. Throws `bad-usage`. */
export function parseShard(text: string): Shard {
  const [, index, of] = /^(\d+)\/(\d+)$/.exec(text) ?? []
  const shard: Shard = { index: Number(index), of: Number(of) }
  assertCount(shard.of)
  if (isShard(shard)) return shard
  throw badUsage(`expected which part of how many, counted from 1, such as 2/4, or auto, got '${text}'`)
}

/** Throws `bad-usage` for more shards than there can be. */
export function assertCount(of: number): void {
  if (of > MOST_SHARDS) throw badUsage(`there can be ${MOST_SHARDS} shards at most, not ${of}`)
}

/** Whether a value is a part that there can be. */
export function isShard(value: unknown): value is Shard {
  if (typeof value !== 'object' || value === null) return false
  const { index, of } = value as Record<string, unknown>
  const isCount = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 1
  return isCount(index) && isCount(of) && index <= of && of <= MOST_SHARDS
}
