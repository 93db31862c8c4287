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
