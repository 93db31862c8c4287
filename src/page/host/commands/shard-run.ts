/** Stands for commands/extract/shard-run.ts: a page does the whole of a job. */

export const refuseShards = async (_output: string): Promise<void> => {}

export function extractShard(): never {
  throw new Error('a page makes no shards')
}
