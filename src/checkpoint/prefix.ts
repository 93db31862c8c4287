export type NameMap = (name: string) => string

export interface Prefix {
  /** With its dot at the end. */
  readonly text: string
  /** Whether the tuned checkpoint's names have it; else the base's have. */
  readonly isOnTuned: boolean
  /** What the base calls a tensor of the tuned checkpoint. */
  readonly toBase: NameMap
}

/** Parts taken off a name at most: `model.diffusion_model.` has two, wrappers of wrappers some more. */
const MOST_PARTS = 4

/**
 * The one dotted prefix that, put before the names of one list or taken from them, makes most of them names of the other:
 * more than half of the shorter list. Undefined where there is none, or two do as well.
 */
export function findPrefix(base: readonly string[], tuned: readonly string[]): Prefix | undefined {
  const votes = [
    ...votesFor(tuned, base).map(([text, count]) => ({ text, count, isOnTuned: true })),
    ...votesFor(base, tuned).map(([text, count]) => ({ text, count, isOnTuned: false })),
  ].sort((a, b) => b.count - a.count)
  const [best, second] = votes
  if (best === undefined || best.count === second?.count) return undefined
  if (2 * best.count <= Math.min(base.length, tuned.length)) return undefined
  const { text, isOnTuned } = best
  const toBase = isOnTuned
    ? (name: string) => (name.startsWith(text) ? name.slice(text.length) : name)
    : (name: string) => `${text}${name}`
  return { text, isOnTuned, toBase }
}

/** How many of the longer names are one of the shorter after each prefix. */
function votesFor(longer: readonly string[], shorter: readonly string[]): [prefix: string, count: number][] {
  const known = new Set(shorter)
  const votes = new Map<string, number>()
  for (const name of longer) {
    let at = -1
    for (let parts = 0; parts < MOST_PARTS; parts++) {
      at = name.indexOf('.', at + 1)
      if (at < 0) break
      const prefix = name.slice(0, at + 1)
      if (known.has(name.slice(at + 1))) votes.set(prefix, (votes.get(prefix) ?? 0) + 1)
    }
  }
  return [...votes]
}
