import type { Skipped } from '../../checkpoint/types.ts'
import { addTo, compareUtf8 } from '../../text/compare.ts'
import { quoted } from '../../text/quote.ts'
import type { SavedModule } from '../model.ts'
import { PEFT_PREFIX } from '../names.ts'
import { PatternSet } from '../pattern/pattern-set.ts'
import { PatternError } from '../pattern/syntax.ts'
import { type ModelTraits, ownerOfPath, pathOf, withContainers } from '../traits.ts'

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
class SuffixTree {
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
const MOST_NAMES = 64

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

/** The tensor names of a module's parameters in the adapter file. */
export const savedTensorName = (tensor: string, traits: ModelTraits) =>
  `${PEFT_PREFIX}${pathOf(tensor, traits)}`

/**
 * The modules that have to be written whole so that the tensors `wanted` are carried: PEFT replaces modules, all their
 * parameters at once, and finds them by the endings of their paths (utils/other.py, _set_trainable).
 * `tuned` are all tensors of the tuned model; `factored` the paths of modules that get LoRA factors, which PEFT can't also
 * replace. What can't be carried is returned with the reason.
 */
export function savedModules(
  wanted: readonly string[],
  tuned: Iterable<string>,
  factored: ReadonlySet<string>,
  traits: ModelTraits,
): { readonly saved: SavedModule[]; readonly notCarried: Skipped[] } {
  const parameters = new Map<string, string[]>()
  for (const tensor of tuned) addTo(parameters, ownerOf(tensor, traits), tensor)
  if (wanted.length === 0) return { saved: [], notCarried: [] }
  const everything = withContainers([...parameters.keys(), ...factored])
  const containers = new Set([...everything].map(ownerOfPath))
  const notCarried: Skipped[] = []
  const paths = new Set<string>()
  const refused = new Map<string, string>()
  for (const name of wanted) {
    const path = ownerOf(name, traits)
    if (path === '' || containers.has(path)) {
      notCarried.push({ name, reason: 'a parameter of a module that holds other modules' })
    } else if (path.split('.').length > MOST_NAMES) {
      notCarried.push({ name, reason: `its path has more than ${MOST_NAMES} names` })
    } else if (factored.has(path)) notCarried.push({ name, reason: 'its module gets LoRA factors' })
    else paths.add(path)
  }
  const candidates = [...paths]
  const clashes = othersEndingIn(candidates, everything)
  const hides = hiddenBy(candidates, factored)
  // each refusal can make another path's match a wrong one
  for (let before = -1; before !== paths.size; ) {
    before = paths.size
    for (const [i, path] of candidates.entries()) {
      if (!paths.has(path)) continue
      const clash = clashes[i].find((other) => !paths.has(other)) ?? hides[i]
      if (clash === undefined) continue
      paths.delete(path)
      refused.set(path, clash)
    }
  }
  for (const name of wanted) {
    const clash = refused.get(ownerOf(name, traits))
    if (clash !== undefined) notCarried.push({ name, reason: `PEFT would take ${quoted(clash)} for it too` })
  }
  return { saved: [...paths].map((path) => ({ path, tensors: parameters.get(path)! })), notCarried }
}

const ownerOf = (tensor: string, traits: ModelTraits) => ownerOfPath(pathOf(tensor, traits))

/** PEFT replaces every module whose path ends so, be it amid a name: of each item those of `paths`, itself among them. */
function othersEndingIn(items: readonly string[], paths: Iterable<string>): string[][] {
  const found: string[][] = items.map(() => [])
  const endings = PatternSet.ofEndings(items)
  for (const path of paths) for (const item of endings.all(path)) found[item].push(path)
  return found
}

/**
 * A module that PEFT gives no factors because of each item: all at, or under, a module that it replaces, by the item as a regular
 * expression (tuners_utils.py, check_target_module_exists). At an item that is none PEFT stops.
 */
function hiddenBy(items: readonly string[], factored: ReadonlySet<string>): (string | undefined)[] {
  const [any] = factored
  const isExpression = items.map(isPattern)
  const hidden = items.map((_, i) => (isExpression[i] ? undefined : any))
  const readable = items.flatMap((_, i) => (isExpression[i] ? [i] : []))
  const patterns = PatternSet.ofKeys(readable.map((i) => items[i]))
  for (const path of withContainers(factored)) {
    for (const found of patterns.all(path)) hidden[readable[found]] ??= path
  }
  return hidden
}

function isPattern(item: string): boolean {
  try {
    PatternSet.ofKeys([item])
    return true
  } catch (error) {
    if (error instanceof PatternError) return false
    throw error
  }
}
