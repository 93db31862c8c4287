import type { RankRequest } from '../../compress/layer-result.ts'
import type { Shard } from '../../shards/shard.ts'
import { partOf, type ShardPart } from '../../shards/split.ts'
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
