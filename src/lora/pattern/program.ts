import { ANY, type Assertion, isWord, type Node, PatternError } from './syntax.ts'

/** States of a set of patterns, some 50 MB: a repeat of a repeat of a repeat multiplies them. */
const MOST_STATES = 200_000

/** Steps that all matching of a set of patterns may take together: about a second. */
const MOST_STEPS = 60_000_000

/** Counts what a set of patterns takes. Throws PatternError where that is too much. */
export class Effort {
  #states = MOST_STATES
  #steps = MOST_STEPS

  addState(): void {
    if (--this.#states < 0) throw new PatternError('it is too large: repeats multiply')
  }

  allow(count: number): void {
    this.#steps += count
  }

  addSteps(count: number): void {
    this.#steps -= count
    if (this.#steps < 0) throw new PatternError('it takes too long to match: simplify it')
  }
}

/** A state consumes a character, asserts something of a place, splits in two, or is the end. */
interface State {
  readonly has?: (code: number) => boolean
  readonly assertion?: Assertion
  /** States that follow: of a split two. */
  next: number
  other?: number
}

const END = -1

/**
 * A nondeterministic automaton that reads a text from its end to its start, so that paths which end otherwise are done with
 * at once. All its states go on side by side (Thompson, "Regular expression search algorithm", CACM 11(6), 1968): the time is
 * at most states × characters, whatever the pattern.
 */
export class Program {
  readonly #states: State[] = []
  readonly #first: number
  readonly #seen: Int32Array
  #mark = 0

  readonly #effort: Effort

  /** Of parts in their own order, all of which have to match. */
  constructor(parts: readonly Node[], effort: Effort) {
    this.#effort = effort
    this.#first = this.#sequence(parts, END)
    this.#seen = new Int32Array(this.#states.length)
  }

  /** Whether the parts match the text from its start to `end`, exactly. */
  matchesUpTo(text: readonly number[], end: number): boolean {
    this.#mark++
    let active: number[] = []
    let isMatch = this.#follow(this.#first, text, end, active)
    for (let at = end; at > 0; at--) {
      if (active.length === 0) return false
      const code = text[at - 1]
      const before = active
      active = []
      isMatch = false
      this.#mark++
      for (const index of before) {
        const { has, next } = this.#states[index]
        if (has!(code) && this.#follow(next, text, at - 1, active)) isMatch = true
      }
      this.#effort.addSteps(before.length)
    }
    return isMatch
  }

  /** Adds the consuming states that can be reached at a place; true where the end can be. */
  #follow(first: number, text: readonly number[], at: number, active: number[]): boolean {
    let isEnd = false
    const open = [first]
    let count = 0
    while (open.length > 0) {
      const index = open.pop()!
      count++
      if (index === END) {
        isEnd = true
        continue
      }
      if (this.#seen[index] === this.#mark) continue
      this.#seen[index] = this.#mark
      const { has, assertion, next, other } = this.#states[index]
      if (has !== undefined) active.push(index)
      else if (assertion === undefined || holds(assertion, text, at)) {
        open.push(next)
        if (other !== undefined) open.push(other)
      }
    }
    this.#effort.addSteps(count)
    return isEnd
  }

  #add(state: State): number {
    this.#effort.addState()
    return this.#states.push(state) - 1
  }

  /** The last part comes first, as the text is read from its end. */
  #sequence(items: readonly Node[], next: number): number {
    return items.reduce((after, item) => this.#compile(item, after), next)
  }

  #compile(node: Node, next: number): number {
    switch (node.kind) {
      case 'character': {
        const { code } = node
        return this.#add({ has: (other) => other === code, next })
      }
      case 'set':
        return this.#add({ has: node.has, next })
      case 'assertion':
        return this.#add({ assertion: node.at, next })
      case 'sequence':
        return this.#sequence(node.items, next)
      case 'choice':
        return node.branches
          .map((branch) => this.#compile(branch, next))
          .reduce((other, first) => this.#add({ next: first, other }))
      case 'repeat':
        return this.#repeat(node.item, node.least, node.most, next)
    }
  }

  #repeat(item: Node, least: number, most: number, next: number): number {
    let first = next
    if (most === Number.POSITIVE_INFINITY) {
      first = this.#add({ next: END, other: next })
      this.#states[first].next = this.#compile(item, first)
    } else {
      for (let i = least; i < most; i++) {
        const before = this.#compile(item, first)
        // an empty item adds no states that the limit would count
        first = this.#add({ next: before, other: next })
      }
    }
    for (let i = 0; i < least; i++) {
      const before = this.#compile(item, first)
      if (before === first) break
      first = before
    }
    return first
  }
}

function holds(assertion: Assertion, text: readonly number[], at: number): boolean {
  const end = text.length
  switch (assertion) {
    case 'start':
      return at === 0
    case 'end':
      return at === end
    case '$':
      return at === end || (at === end - 1 && !isAny(text[at]))
    default: {
      // nothing at all has neither (until Python 3.14)
      if (end === 0) return false
      const isEdge = (at > 0 && isWord(text[at - 1])) !== (at < end && isWord(text[at]))
      return isEdge === (assertion === 'word edge')
    }
  }
}

const isAny = (code: number) => ANY.kind === 'set' && ANY.has(code)
