import { Effort, Program } from './program.ts'
import { ANY, type Node, PatternError, parsePattern } from './syntax.ts'

/** What comes before a key: PEFT lets any path end in a match, from the start of one of its names. */
const ANY_PATH = '(.*\\.)?'
const ANYTHING: Node = {
  kind: 'repeat',
  item: { kind: 'set', has: () => true },
  least: 0,
  most: Number.POSITIVE_INFINITY,
}
const NEWLINE = 10

/** What a pattern asks for before the characters that it ends in. */
type Before =
  /** The start of the path or of one of its names. */
  | 'name'
  /** The start of the path. */
  | 'start'
  | 'anything'
  | Program

interface Entry {
  readonly rule: number
  /** The characters that it ends in, the last one first; undefined for any but a newline. */
  readonly ending: readonly (number | undefined)[]
  readonly before: Before
}

/** A tree of endings, each of which is spelled out only as far as it shares its characters with others. */
interface Branch {
  readonly ended: Entry[]
  readonly next: Map<number | undefined, Branch | Entry>
}

/**
 * Many patterns of Python's `re`, asked together which of them a module's path matches. Characters at the end of patterns are
 * compared once for all that share them, so that 16,000 paths as patterns are as quick as one; what isn't plain characters is
 * matched in linear time. Throws PatternError on a pattern that is wrong or not supported, and where matching takes too long.
 */
export class PatternSet {
  readonly #root: Branch = { ended: [], next: new Map() }
  /** Those whose match may end before the path does. */
  readonly #open: Entry[] = []
  readonly #areKeys: boolean
  /** The most characters that a pattern ends in. */
  #longest = 0
  /** Some pattern is more than plain characters. */
  #readsAll = false
  readonly #effort = new Effort()

  /** Plain texts that paths may end in, be it amid a name. */
  static ofEndings(texts: readonly string[]): PatternSet {
    const set = new PatternSet(false)
    for (const [rule, text] of texts.entries()) {
      set.#insert({ rule, ending: codesOf(text).reverse(), before: 'anything' })
    }
    return set
  }

  private constructor(areKeys: boolean) {
    this.#areKeys = areKeys
  }

  /** Keys are matched as PEFT does: `re.match(r"(.*\.)?(KEY)$", path)` (peft/utils/other.py, get_pattern_key). */
  static ofKeys(keys: readonly string[]): PatternSet {
    const set = new PatternSet(true)
    for (const [rule, key] of keys.entries()) {
      try {
        set.#addKey(rule, parsePattern(`${ANY_PATH}(${key})$`))
      } catch (error) {
        if (error instanceof PatternError) error.pattern = key
        throw error
      }
    }
    return set
  }

  /** One pattern that has to match whole paths: `re.fullmatch(PATTERN, path)`. */
  static ofWholePaths(pattern: string): PatternSet {
    const set = new PatternSet(false)
    for (const branch of branchesOf(parsePattern(pattern))) set.#add(0, flattened(branch), 'start')
    return set
  }

  /** The first of the patterns that matches, by its index. */
  first(path: string): number | undefined {
    let least: number | undefined
    this.#search(path, (rule) => {
      if (least === undefined || rule < least) least = rule
    })
    return least
  }

  /** Whether any matches. */
  matches(path: string): boolean {
    return this.first(path) !== undefined
  }

  /** All that match, by their indices; one that matches in two ways comes twice. */
  all(path: string): number[] {
    const found: number[] = []
    this.#search(path, (rule) => found.push(rule))
    return found
  }

  #addKey(rule: number, parsed: Node): void {
    const parts = flattened(parsed)
    const last = parts.at(-1)
    // a key such as `a)|(b` takes the pattern around it apart
    if (parsed.kind === 'choice' || last?.kind !== 'assertion' || last.at !== '$') {
      this.#readsAll = true
      this.#open.push({ rule, ending: [], before: new Program([parsed, ANYTHING], this.#effort) })
      return
    }
    const [first, inner] = parts
    if (parts.length === 3 && inner.kind === 'choice') {
      for (const branch of inner.branches) this.#add(rule, [first, ...flattened(branch)], 'name')
    } else this.#add(rule, parts.slice(0, -1), 'name')
  }

  /** Files a pattern under its ending. Of a key the first part is what may come before it. */
  #add(rule: number, parts: readonly Node[], from: 'name' | 'start'): void {
    let count = parts.length
    const ending: (number | undefined)[] = []
    for (; count > 0; count--) {
      const part = parts[count - 1]
      if (part === ANY) ending.push(undefined)
      else if (part.kind === 'character') ending.push(part.code)
      else break
    }
    this.#insert({ rule, ending, before: this.#beforeOf(parts.slice(0, count), from) })
  }

  /** What is left of a pattern before its ending, as shortly as it can be said. */
  #beforeOf(parts: readonly Node[], from: 'name' | 'start'): Before {
    const own = from === 'name' ? parts.slice(1) : parts
    if (own.length === 0) return from
    if (own.every(isStart)) return 'start'
    this.#readsAll = true
    return new Program(parts, this.#effort)
  }

  #insert(entry: Entry): void {
    this.#longest = Math.max(this.#longest, entry.ending.length)
    let branch = this.#root
    for (let depth = 0; ; depth++) {
      if (depth === entry.ending.length) {
        branch.ended.push(entry)
        return
      }
      const key = entry.ending[depth]
      const there = branch.next.get(key)
      if (there === undefined) {
        branch.next.set(key, entry)
        return
      }
      if ('next' in there) branch = there
      else {
        const fresh: Branch = { ended: [], next: new Map() }
        if (there.ending.length === depth + 1) fresh.ended.push(there)
        else fresh.next.set(there.ending[depth + 1], there)
        branch.next.set(key, fresh)
        branch = fresh
      }
    }
  }

  #search(path: string, found: (rule: number) => void): void {
    const text = codesOf(this.#tailOf(path))
    this.#effort.allow(FREE_STEPS * text.length)
    for (const entry of this.#open) this.#finish(entry, text, text.length, found)
    this.#walk(text, text.length, found)
    // the `$` of keys holds before a last newline too
    if (this.#areKeys && text.at(-1) === NEWLINE) this.#walk(text, text.length - 1, found)
  }

  /** As much of a path as can bear on the outcome: its end, where all patterns are plain characters. */
  #tailOf(path: string): string {
    if (this.#readsAll) return path
    // a character is one or two of a string's units
    const tail = path.slice(-2 * (this.#longest + 1))
    // `.*` stops at a newline, which what is cut off may hold
    return tail.length < path.length && path.lastIndexOf('\n', path.length - tail.length - 1) >= 0
      ? path
      : tail
  }

  #walk(text: readonly number[], end: number, found: (rule: number) => void): void {
    const open: (readonly [there: Branch | Entry, at: number, depth: number])[] = [[this.#root, end, 0]]
    while (open.length > 0) {
      const [there, at, depth] = open.pop()!
      this.#effort.addSteps(1)
      if ('next' in there) {
        for (const entry of there.ended) this.#finish(entry, text, at, found)
        if (at === 0) continue
        const code = text[at - 1]
        const exact = there.next.get(code)
        if (exact !== undefined) open.push([exact, at - 1, depth + 1])
        const any = code === NEWLINE ? undefined : there.next.get(undefined)
        if (any !== undefined) open.push([any, at - 1, depth + 1])
      } else {
        const start = at - (there.ending.length - depth)
        if (start >= 0 && this.#endsSo(there, text, at, depth)) this.#finish(there, text, start, found)
      }
    }
  }

  #endsSo({ ending }: Entry, text: readonly number[], at: number, depth: number): boolean {
    for (let i = depth; i < ending.length; i++) {
      const code = text[at - 1 - (i - depth)]
      const asked = ending[i]
      if (asked === undefined ? code === NEWLINE : code !== asked) {
        this.#effort.addSteps(i - depth)
        return false
      }
    }
    this.#effort.addSteps(ending.length - depth)
    return true
  }

  #finish({ rule, before }: Entry, text: readonly number[], at: number, found: (rule: number) => void): void {
    this.#effort.addSteps(1)
    const isMatch =
      before === 'anything'
        ? true
        : before === 'start'
          ? at === 0
          : before === 'name'
            ? at === 0 || (text[at - 1] === DOT && isOneLine(text, at - 1))
            : before.matchesUpTo(text, at)
    if (isMatch) found(rule)
  }
}

const DOT = 46

/** Steps a character that plain paths take at most, which no limit should count: they grow with the input alone. */
const FREE_STEPS = 4

const codesOf = (text: string): number[] => Array.from(text, (character) => character.codePointAt(0)!)

/** `.*` stops at a newline. */
function isOneLine(text: readonly number[], end: number): boolean {
  const at = text.indexOf(NEWLINE)
  return at < 0 || at >= end
}

const isStart = (node: Node) => node.kind === 'assertion' && node.at === 'start'

/** Its parts in a row, groups without a choice opened. */
const flattened = (node: Node): readonly Node[] =>
  node.kind === 'sequence' ? node.items.flatMap(flattened) : [node]

/** The branches of a pattern that is nothing but a choice. */
function branchesOf(node: Node): readonly Node[] {
  const parts = flattened(node)
  const [only] = parts
  return parts.length === 1 && only.kind === 'choice' ? only.branches : [node]
}
