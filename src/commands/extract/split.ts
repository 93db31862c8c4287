import type { RankRequest } from '../../compress/layer-result.ts'
import type { ExtractSettings } from './options.ts'
import type { ExtractionPlan } from './plan.ts'
import { costsOf } from './ranks.ts'
import { type Shard, splitWork } from './shards.ts'

/** Which layers of a round are a shard's, and its share of their work. */
export function splitOf(
  plan: ExtractionPlan,
  settings: ExtractSettings,
  asks: readonly (RankRequest | null)[],
  { index, of }: Shard,
): { readonly isOwn: readonly boolean[]; readonly share: number } {
  const costs = costsOf(plan, settings, asks)
  const isOwn = splitWork(costs, of).map((one) => one === index)
  const sum = (isMeant: (i: number) => boolean) =>
    costs.reduce<number>((total, cost, i) => total + (isMeant(i) ? (cost ?? 0) : 0), 0)
  const all = sum(() => true)
  return { isOwn, share: all === 0 ? 0 : sum((i) => isOwn[i]) / all }
}
