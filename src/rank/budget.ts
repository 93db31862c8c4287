/**
 * The ranks under a byte budget that leave the least error over all matrices. Rank i of a matrix gains weight·σ_i² for its
 * bytes. Taking gains by density (gain a byte) down to a density λ is optimal among all choices of no more bytes: what another
 * choice takes instead is no denser than λ, what it leaves out no less dense. Within a matrix densities fall, so that what is
 * taken are its leading ranks. The least ranks are paid for first; where only multiples of a number are allowed, a block of
 * ranks is one item, whose density is the mean of its ranks', falling still. The budget that one item finds too small
 * for it could gain at most that item's density for every byte (Dantzig 1957): the bound of what any split could gain more.
 */
import { type RankLimits, withinLimits } from './rules.ts'

/** A matrix that takes part in the split of a budget. */
export interface BudgetedMatrix {
  readonly name: string
  /** σ², or lower bounds of it, non-increasing: as many as there may be ranks. */
  readonly squares: Float64Array
  /** What one more rank takes; a whole number. */
  readonly bytesPerRank: number
  /** How much its squared error counts: 1 for the absolute error, 1/‖A‖_F² for each matrix's relative one. */
  readonly weight: number
}

export interface Budget {
  readonly bytes: number
  readonly limits: RankLimits
  /**
   * The bytes that ranks, one for each matrix, take in truth. What this is more than the sum of their `bytesPerRank` must not
   * fall as ranks rise: headers grow by digits.
   */
  readonly exactBytes: (ranks: readonly number[]) => number
}

export interface BudgetSplit {
  /** One for each matrix, in their order. */
  readonly ranks: readonly number[]
  /** What they take in truth, never above the budget. */
  readonly bytes: number
  /** By how much the weighted squared error could at most be less, however the budget were split. */
  readonly bound: number
}

/** Not even the least ranks that the limits allow fit. */
export interface TooSmall {
  /** What the least ranks take. */
  readonly needed: number
}

/**
 * The split with the least error, up to `bound`, which is 0 where all matrices have equal bytesPerRank. Ties are broken by name,
 * so that the order of the matrices doesn't matter.
 */
export function splitBudget(matrices: readonly BudgetedMatrix[], budget: Budget): BudgetSplit | TooSmall {
  const { limits, exactBytes } = budget
  const ranks = matrices.map(({ squares }) => withinLimits(0, squares.length, limits))
  const needed = exactBytes(ranks)
  if (needed > budget.bytes) return { needed }
  const room = roomAbove(matrices, budget, ranks, needed)
  const fits = ({ matrix, to, bytes }: Item) =>
    spent + bytes <= room.certain ||
    (spent + bytes <= room.most && exactBytes(ranks.with(matrix, to)) <= budget.bytes)
  let spent = 0
  let gained = 0
  let ideal: number | undefined
  for (const item of itemsByDensity(matrices, ranks, limits)) {
    if (fits(item)) {
      ranks[item.matrix] = item.to
      spent += item.bytes
      gained += item.gain
    } else ideal ??= gained + item.density * Math.max(0, room.most - spent)
  }
  return { ranks, bytes: exactBytes(ranks), bound: Math.max(0, (ideal ?? gained) - gained) }
}

const gainBetween = ({ squares, weight }: BudgetedMatrix, from: number, to: number): number =>
  weight * squares.subarray(from, to).reduce((sum, square) => sum + square, 0)

/** What may be spent beyond the least ranks. */
interface Room {
  /** Whatever the headers come to. */
  readonly certain: number
  /** With the headers of the least ranks, in steps that ranks can be bought in. */
  readonly most: number
}

function roomAbove(
  matrices: readonly BudgetedMatrix[],
  { bytes, limits, exactBytes }: Budget,
  least: readonly number[],
  needed: number,
): Room {
  const highest = matrices.map(({ squares }) => withinLimits(squares.length, squares.length, limits))
  const between = matrices.reduce(
    (sum, { bytesPerRank }, i) => sum + (highest[i] - least[i]) * bytesPerRank,
    0,
  )
  const headersGrow = exactBytes(highest) - needed - between
  const step = matrices.reduce((divisor, { bytesPerRank }) => greatestCommonDivisor(divisor, bytesPerRank), 0)
  const most = bytes - needed
  const stride = step * (limits.multipleOf ?? 1)
  return { certain: most - headersGrow, most: stride > 0 ? most - (most % stride) : most }
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
}

/** Ranks of a matrix up to `to`, which are taken together, where it has those below. */
interface Item {
  readonly matrix: number
  readonly name: string
  readonly to: number
  readonly gain: number
  readonly bytes: number
  readonly density: number
}

/**
 * The items of all matrices by falling density. Of each matrix the next one only where the one before was taken, as `ranks`
 * shows when the next item is asked for.
 */
function* itemsByDensity(
  matrices: readonly BudgetedMatrix[],
  ranks: readonly number[],
  limits: RankLimits,
): Generator<Item, void, void> {
  const heap: Item[] = []
  const offer = (matrix: number) => {
    const item = nextItem(matrices, matrix, ranks[matrix], limits)
    if (item !== undefined) push(heap, item)
  }
  for (const matrix of matrices.keys()) offer(matrix)
  for (let item = pop(heap); item !== undefined; item = pop(heap)) {
    yield item
    if (ranks[item.matrix] === item.to) offer(item.matrix)
  }
}

/** The item above rank `from`; none where the limits end, or where nothing is left to gain. */
function nextItem(
  matrices: readonly BudgetedMatrix[],
  index: number,
  from: number,
  { maxRank = Number.POSITIVE_INFINITY, multipleOf = 1 }: RankLimits,
): Item | undefined {
  const matrix = matrices[index]
  const to = from + multipleOf
  if (to > Math.min(maxRank, matrix.squares.length)) return undefined
  const gain = gainBetween(matrix, from, to)
  const bytes = multipleOf * matrix.bytesPerRank
  return gain > 0 ? { matrix: index, name: matrix.name, to, gain, bytes, density: gain / bytes } : undefined
}

const isBefore = (a: Item, b: Item): boolean =>
  a.density > b.density || (a.density === b.density && a.name < b.name)

/** Puts an item into a binary heap. */
function push(heap: Item[], item: Item): void {
  let at = heap.push(item) - 1
  while (at > 0) {
    const parent = (at - 1) >> 1
    if (!isBefore(heap[at], heap[parent])) return
    swap(heap, at, parent)
    at = parent
  }
}

/** Takes the first item out of a binary heap. */
function pop(heap: Item[]): Item | undefined {
  if (heap.length > 0) swap(heap, 0, heap.length - 1)
  const first = heap.pop()
  for (let at = 0; ; ) {
    let next = at
    for (const child of [2 * at + 1, 2 * at + 2]) {
      if (child < heap.length && isBefore(heap[child], heap[next])) next = child
    }
    if (next === at) return first
    swap(heap, at, next)
    at = next
  }
}

function swap(heap: Item[], i: number, j: number): void {
  const item = heap[i]
  heap[i] = heap[j]
  heap[j] = item
}
