import type { Shard } from './shard.ts'

/** Which pieces of work are a shard's, and its share of all. */
export interface ShardPart {
  readonly isOwn: readonly boolean[]
  readonly share: number
}

/** A shard's part of pieces of these costs; null where there is nothing to do. */
export function partOf(costs: readonly (number | null)[], { index, of }: Shard): ShardPart {
  const isOwn = splitWork(costs, of).map((one) => one === index)
  const sum = (isMeant: (i: number) => boolean) =>
    costs.reduce<number>((total, cost, i) => total + (isMeant(i) ? (cost ?? 0) : 0), 0)
  const all = sum(() => true)
  return { isOwn, share: all === 0 ? 0 : sum((i) => isOwn[i]) / all }
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
