import { badUsage } from '../errors.ts'
import { shardOfEnvironment } from '../shards/environment.ts'
import type { Shard } from '../shards/shard.ts'
import type { Terminal } from '../terminal/terminal.ts'

/** The flags by which the command line says which shard this is. */
export interface ShardFlags {
  readonly shard?: Shard | 'auto'
  readonly shards?: number
}

/** Which shard the flags mean, by the environment where they leave it to that. Throws `bad-usage`. */
export function shardOf({ shard, shards }: ShardFlags, env: Terminal['env']): Shard | undefined {
  if (shards !== undefined && shard !== 'auto') {
    throw badUsage('--shards says how many there are to --shard auto: give both, or --shard 2/4')
  }
  return shard === 'auto' ? shardOfEnvironment(env, shards) : shard
}

/** Throws `bad-usage` where the part that a shard finds would go nowhere. */
export function assertKept({
  shard,
  out,
  json,
}: {
  readonly shard?: Shard | undefined
  readonly out?: string | undefined
  readonly json: boolean
}): void {
  if (shard === undefined || out !== undefined || json) return
  throw badUsage('--shard: what this part finds would be lost: give --out, a folder for all parts, or --json')
}
