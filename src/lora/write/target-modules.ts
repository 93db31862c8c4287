import { compareUtf8 } from '../../text/suggest.ts'
import { PatternSet } from '../pattern/pattern-set.ts'

interface Node {
  readonly next: Map<string, Node>
  /** A path of the tree ends here, so many names from its last. */
  isWhole: boolean
  /** Another module's path ends in these names too. */
  isShared: boolean
}

/**
 * Paths by their names, the last one first: which endings are theirs alone. Only the endings that some path of the tree has are
 * kept, each name once, so that a path of thousands of names takes no more than its length.
 */
export class SuffixTree {
  readonly #root = node()

  add(names: readonly string[]): void {
    let at = this.#root
    for (let i = names.length - 1; i >= 0; i--) {
      let next = at.next.get(names[i])
      if (next === undefined) {
        next = node()
        at.next.set(names[i], next)
      }
      at = next
    }
    at.isWhole = true
  }

  /** Marks the endings of names[0, count), unless that is a path of the tree itself. */
  share(names: readonly string[], count: number): void {
    const passed: Node[] = []
    let at = this.#root
    for (let i = count - 1; i >= 0; i--) {
      const next = at.next.get(names[i])
      if (next === undefined) break
      passed.push(next)
      at = next
    }
    if (passed.length === count && at.isWhole) return
    for (const one of passed) one.isShared = true
  }

  /** The least count of last names of a path of the tree that is no other module's ending, and that `isFit`. */
  shortest(names: readonly string[], isFit: (count: number) => boolean): number | undefined {
    let at = this.#root
    for (let count = 1; count <= names.length; count++) {
      at = at.next.get(names[names.length - count])!
      if (!at.isShared && isFit(count)) return count
    }
    return undefined
  }
}

const node = (): Node => ({ next: new Map(), isWhole: false, isShared: false })

/**
 * Names of a path to be adapted that endings are looked for among. Real ones have some ten; a path of more is matched by a
 * regular expression, so that no list has to be exact.
 */
export const MOST_NAMES = 64

/** `text` as a regular expression, Python's or JavaScript's, that matches it alone. */
export const escapedPattern = (text: string) => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')

/**
 * PEFT's `target_modules` that match `emitted` and nothing else of `others` (module paths of the model, which may repeat
 * those of `emitted`): as few suffixes as there can be, the shortest of each; full paths where a suffix would match more.
 * Where even a full path ends another module's, only a regular expression is exact: a string.
 */
export function targetModules(emitted: readonly string[], others: Iterable<string>): string[] | string {
  const wanted = new Map([...new Set(emitted)].map((path) => [path, path.split('.')]))
  const pattern = () => [...wanted.keys()].sort(compareUtf8).map(escapedPattern).join('|')
  if ([...wanted.values()].some((names) => names.length > MOST_NAMES)) return pattern()
  const endings = new SuffixTree()
  for (const names of wanted.values()) endings.add(names)
  for (const path of new Set([...emitted, ...others])) {
    const names = path.split('.')
    for (let count = 1; count <= names.length; count++) endings.share(names, count)
  }
  const items = new Set<string>()
  for (const names of wanted.values()) {
    const isFit = (count: number) => count === names.length || !/^\d+$/.test(names[names.length - count])
    const count = endings.shortest(names, isFit)
    if (count === undefined) return pattern()
    items.add(names.slice(-count).join('.'))
  }
  // a full path that begins with a number can repeat what a suffix of another has matched
  return [...items].filter((item) => !suffixesOf(item).some((suffix) => items.has(suffix))).sort(compareUtf8)
}

/** Every shorter ending that begins at a name: `b.c` and `c` of `a.b.c`. */
function suffixesOf(path: string): string[] {
  const names = path.split('.')
  return names.slice(1).map((_, i) => names.slice(i + 1).join('.'))
}

/** Which modules PEFT would adapt (tuners_utils.py, check_target_module_exists). Throws PatternError on a wrong expression. */
export function targetTest(targets: readonly string[] | string): (path: string) => boolean {
  if (typeof targets === 'string') {
    const pattern = PatternSet.ofWholePaths(targets)
    return (path) => pattern.matches(path)
  }
  const items = new Set(targets)
  const mostNames = targets.reduce((most, item) => Math.max(most, item.split('.').length), 0)
  return (path) => {
    if (items.has(path)) return true
    let at = path.length
    for (let count = 0; count < mostNames; count++) {
      at = path.lastIndexOf('.', at - 1)
      if (at < 0) return false
      if (items.has(path.slice(at + 1))) return true
      if (at === 0) return false
    }
    return false
  }
}
