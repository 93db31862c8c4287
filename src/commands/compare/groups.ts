import type { AdapterGroup } from './result.ts'

/** From this cosine on, 60°, two changes are called near: the half of either's length lies along the other. */
export const NEAR = 0.5

/** Adapters that hang together by cosines of at least `threshold`, two or more of them, in the order of the first of each. */
export function groupsOf(cosines: readonly (readonly number[])[], threshold: number): AdapterGroup[] {
  const seen = new Set<number>()
  const groups: AdapterGroup[] = []
  for (const first of cosines.keys()) {
    if (seen.has(first)) continue
    const adapters = reachedFrom(first, cosines, threshold)
    for (const one of adapters) seen.add(one)
    if (adapters.length > 1) groups.push({ adapters, leastCosine: leastOf(adapters, cosines) })
  }
  return groups
}

function reachedFrom(first: number, cosines: readonly (readonly number[])[], threshold: number): number[] {
  const reached = new Set([first])
  for (const one of reached) {
    for (const [other, cosine] of cosines[one].entries()) if (cosine >= threshold) reached.add(other)
  }
  return [...reached].sort((a, b) => a - b)
}

function leastOf(adapters: readonly number[], cosines: readonly (readonly number[])[]): number {
  const all = adapters.flatMap((i) => adapters.filter((j) => j > i).map((j) => cosines[i][j]))
  return all.reduce((a, b) => Math.min(a, b))
}
