import type { RankRequest } from '../../compress/layer-result.ts'
import type { Shard } from '../../shards/shard.ts'
import { partOf, type ShardPart, splitWork } from '../../shards/split.ts'
import type { ExtractSettings } from './options.ts'
import type { ExtractionPlan } from './plan.ts'
import { costsOf } from './ranks.ts'

/** Which layers of a round are a shard's, and its share of their work. */
export const splitOf = (
  plan: ExtractionPlan,
  settings: ExtractSettings,
  asks: readonly (RankRequest | null)[],
  shard: Shard,
): ShardPart => partOf(costsOf(plan, settings, asks), shard)

/** The layers of a round of each of so many shards, the first shard's first. */
export function allSplits(
  plan: ExtractionPlan,
  settings: ExtractSettings,
  asks: readonly (RankRequest | null)[],
  of: number,
): number[][] {
  const layers: number[][] = Array.from({ length: of }, () => [])
  for (const [i, shard] of splitWork(costsOf(plan, settings, asks), of).entries()) {
    if (shard > 0) layers[shard - 1].push(i)
  }
  return layers
}
