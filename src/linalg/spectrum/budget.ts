import { type RankLimits, withinLimits } from './rules.ts'

/**
 * The ranks under a byte budget that leave the least error over all matrices. Rank i of a matrix gains weight·σ_i² for its own
 * bytes; headers and patterns come on top, and depend on all ranks together. Taking gains by density (gain a byte) is the greedy
 * split of the own bytes: within a matrix densities fall, so that what is taken are its leading ranks; where only multiples of a
 * number are allowed, a block of ranks is one item. How many own bytes leave room for the rest is found by bisection on the true
 * bytes, one rank for all is tried beside it, as it may need no patterns, and what is then left is spent rank by rank.
 *
 * The greedy split isn't the best one in general: an item too large for the room is passed over. What any other could gain more
 * is bounded by weak duality: for every λ ≥ 0 no split gains more than Σ max_k (gain(k) − λ·bytes(k)) + λ·room, where the room is
 * what is left of the budget by the least that headers and patterns can take (Everett 1963; for the λ at which the greedy
 * split stops it is the bound of Dantzig 1957).
 */

/** A matrix that takes part in the split of a budget. */
export interface BudgetedMatrix {
  readonly name: string
  /** σ², or lower bounds of it, non-increasing: as many as there may be ranks. */
  readonly squares: Float64Array
  /** What one more rank takes; a whole number. */
  readonly bytesPerRank: number
  /** How much its squared error counts: 1 for the absolute error, 1/‖A‖_F² for each matrix's relative one. */
  readonly weight: number
  /** What `squares` may leave out. */
  readonly unknown?: {
    /** At least Σ (σ² − square) over the values that are given. */
    readonly excess: number
    /** Ranks that the limits allow beyond those given, … */
    readonly count: number
    /** … and at least σ² of each. */
    readonly square: number
  }
}

export interface Budget {
  readonly bytes: number
  readonly limits: RankLimits
  /** The bytes that ranks, one for each matrix, take in truth. */
  readonly exactBytes: (ranks: readonly number[]) => number
  /** What all ranks take beyond the sum of their `bytesPerRank`, at least. */
  readonly leastAside: number
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

/** Bisections at most: each halves the bytes that aren't known to fit. */
const MOST_BISECTIONS = 48
/** Ranks at most that are tried one by one on what is left. */
const MOST_FILLINGS = 24

/** A good split, and how much better any could be. Ties are broken by name, so that the order of the matrices doesn't matter. */
export function splitBudget(matrices: readonly BudgetedMatrix[], budget: Budget): BudgetSplit | TooSmall {
  const { limits, exactBytes } = budget
  const least = matrices.map(({ squares }) => withinLimits(0, squares.length, limits))
  const needed = exactBytes(least)
  if (needed > budget.bytes) return { needed }
  const room = roomAbove(matrices, budget, least)
  let best: readonly number[] = least
  const fits = (ranks: readonly number[]) => exactBytes(ranks) <= budget.bytes
  const keep = (ranks: readonly number[]) => {
    const isFitting = fits(ranks)
    if (isFitting && gainOf(matrices, ranks) > gainOf(matrices, best)) best = ranks
    return isFitting
  }
  const ideal = greedy(matrices, least, limits, room)
  if (!keep(ideal.ranks)) {
    const smallest = Math.min(...matrices.map(({ bytesPerRank }) => bytesPerRank))
    bisect(0, room, smallest, (spent) => keep(greedy(matrices, least, limits, spent).ranks))
    const highest = Math.max(...matrices.map(({ squares }) => squares.length))
    bisect(0, highest, 1, (rank) =>
      keep(matrices.map(({ squares }) => withinLimits(rank, squares.length, limits))),
    )
  }
  const ranks = filled(matrices, best, budget)
  const gained = gainOf(matrices, ranks)
  const most = mostGained(matrices, least, limits, room, ideal.density)
  return { ranks, bytes: exactBytes(ranks), bound: Math.max(0, most - gained) }
}

/** Halves the whole numbers between one that fits and one that doesn't, down to `step`. */
function bisect(fitting: number, tooMuch: number, step: number, fits: (value: number) => boolean): void {
  let [low, high] = [fitting, tooMuch]
  for (let i = 0; i < MOST_BISECTIONS && high - low > step; i++) {
    const middle = Math.floor((low + high) / 2)
    if (fits(middle)) low = middle
    else high = middle
  }
}

/** What the ranks take from the weighted squared error. */
const gainOf = (matrices: readonly BudgetedMatrix[], ranks: readonly number[]): number =>
  matrices.reduce((sum, matrix, i) => sum + gainBetween(matrix, 0, ranks[i]), 0)

const gainBetween = ({ squares, weight }: BudgetedMatrix, from: number, to: number): number =>
  weight * squares.subarray(from, to).reduce((sum, square) => sum + square, 0)

/** What may at most be spent on ranks beyond the least, in steps that ranks can be bought in. */
function roomAbove(
  matrices: readonly BudgetedMatrix[],
  { bytes, limits, leastAside }: Budget,
  least: readonly number[],
): number {
  const paid = matrices.reduce((sum, { bytesPerRank }, i) => sum + least[i] * bytesPerRank, 0)
  const step = matrices.reduce((divisor, { bytesPerRank }) => greatestCommonDivisor(divisor, bytesPerRank), 0)
  const stride = step * (limits.multipleOf ?? 1)
  const most = Math.max(0, bytes - leastAside - paid)
  return stride > 0 ? most - (most % stride) : most
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
}

/** Takes items by density as long as their own bytes fit into `room`; `density` is that of the first that did not. */
function greedy(
  matrices: readonly BudgetedMatrix[],
  least: readonly number[],
  limits: RankLimits,
  room: number,
): { readonly ranks: readonly number[]; readonly density: number } {
  const ranks = [...least]
  let spent = 0
  let density: number | undefined
  for (const item of itemsByDensity(matrices, ranks, limits)) {
    if (spent + item.bytes <= room) {
      ranks[item.matrix] = item.to
      spent += item.bytes
    } else density ??= item.density
  }
  return { ranks, density: density ?? 0 }
}

/** Adds single items, the densest first, as long as the true bytes hold them. */
function filled(
  matrices: readonly BudgetedMatrix[],
  from: readonly number[],
  { bytes, limits, exactBytes }: Budget,
): readonly number[] {
  const ranks = [...from]
  let tries = 0
  for (const item of itemsByDensity(matrices, ranks, limits)) {
    if (++tries > MOST_FILLINGS) break
    if (exactBytes(ranks.with(item.matrix, item.to)) <= bytes) ranks[item.matrix] = item.to
  }
  return ranks
}

/** At least what the best split gains: the dual of the split at this density. */
function mostGained(
  matrices: readonly BudgetedMatrix[],
  least: readonly number[],
  limits: RankLimits,
  room: number,
  density: number,
): number {
  return matrices.reduce((sum, matrix, i) => sum + mostOf(matrix, least[i], limits, density), density * room)
}

/** The most that the ranks of a matrix gain over what they cost beyond the least. */
function mostOf(matrix: BudgetedMatrix, least: number, limits: RankLimits, density: number): number {
  const { squares, bytesPerRank, weight, unknown } = matrix
  const { excess = 0, count = 0, square = 0 } = unknown ?? {}
  const highest = withinLimits(Number.POSITIVE_INFINITY, squares.length + count, limits)
  const { multipleOf = 1 } = limits
  let [gain, most] = [0, Number.NEGATIVE_INFINITY]
  for (let rank = 0; rank <= highest; rank++) {
    if (rank > 0) gain += weight * (rank <= squares.length ? squares[rank - 1] : square)
    const isAllowed = rank >= least && (rank === least || rank === highest || rank % multipleOf === 0)
    if (isAllowed) most = Math.max(most, gain - density * bytesPerRank * (rank - least))
  }
  return most + weight * excess
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
