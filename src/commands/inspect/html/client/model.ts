import type { Interval } from '../../../../linalg/spectrum/spectrum.ts'
import { type MatrixData, type ReportData, ranksOf, tailAt } from '../data.ts'

/** A matrix of the report with what the page derives from it once. */
export interface Item {
  readonly index: number
  readonly matrix: MatrixData
  readonly order: number
  /** The ranks at which its spectrum is carried. */
  readonly ranks: readonly number[]
  /** How many of those have a singular value above zero. */
  readonly positive: number
}

export interface Model {
  readonly data: ReportData
  readonly items: readonly Item[]
  readonly maxRank: number
  /** Where the slider stops. */
  readonly stops: readonly number[]
}

/** What factors of a rank take, and leave as error. */
export interface RankFigures {
  readonly rank: number
  readonly error: Interval
  readonly parameters: number
  readonly bytes: number
  /** Of the dense matrix's bytes. */
  readonly share: number
}

/** Up to here the slider stops at every rank; beyond, a step is this share: the whole range then takes some 200 stops. */
const EVERY_STOP_TO = 64
const STOP_GROWTH = 1.03

export function modelOf(data: ReportData): Model {
  const shared = new Map<number, number[]>()
  const items = data.matrices.map((matrix, index) => {
    const { given, sigma, order } = matrix.spectrum
    const ranks = shared.get(given) ?? ranksOf(data.grid, given)
    shared.set(given, ranks)
    return { index, matrix, order, ranks, positive: sigma.reduce((n, s) => n + (s > 0 ? 1 : 0), 0) }
  })
  const maxRank = items.reduce((most, item) => Math.max(most, usefulRank(item)), 1)
  return { data, items, maxRank, stops: stopsTo(maxRank, data.grid) }
}

/** The largest rank worth setting: of an adapter's product its nominal rank. */
const usefulRank = ({ matrix, order }: Item) => matrix.adapter?.nominalRank ?? order

/** Stops at carried ranks and powers of two, so that the error at them is known where spectra are whole. */
function stopsTo(maxRank: number, grid: readonly number[]): number[] {
  const candidates = new Set([...grid, ...powersOfTwo(maxRank), maxRank])
  const last = grid[grid.length - 1] ?? 0
  for (let r = last + 1; r < maxRank; r = Math.ceil(r * STOP_GROWTH)) candidates.add(r)
  const stops: number[] = []
  for (const r of [...candidates].sort((a, b) => a - b)) {
    const before = stops[stops.length - 1] ?? 0
    const isFar = r <= EVERY_STOP_TO || r >= before * STOP_GROWTH
    if (r <= maxRank && (isFar || Number.isInteger(Math.log2(r)) || r === maxRank)) stops.push(r)
  }
  return stops
}

export function powersOfTwo(most: number): number[] {
  const powers = []
  for (let r = 1; r <= most; r *= 2) powers.push(r)
  return powers
}

export function figuresAt({ matrix, ranks, order }: Item, rank: number): RankFigures {
  const [rows, columns] = matrix.shape
  const used = Math.min(rank, order)
  const tail = tailAt(matrix.spectrum, ranks, used)
  const parameters = used * (rows + columns)
  return {
    rank: used,
    error: { atLeast: Math.sqrt(tail.atLeast), atMost: Math.sqrt(tail.atMost) },
    parameters,
    bytes: parameters * matrix.bytesPerElement,
    share: parameters / (rows * columns),
  }
}

/** The same over all matrices: √(Σ tail · ‖A‖_F² / Σ ‖A‖_F²). Norms are taken of the largest so that squares stay in range. */
export function totalsAt({ items }: Model, rank: number): RankFigures {
  const largest = items.reduce((most, { matrix }) => Math.max(most, matrix.spectrum.frobenius), 0) || 1
  let [least, most, all, parameters, bytes, dense] = [0, 0, 0, 0, 0, 0]
  for (const { matrix, ranks, order } of items) {
    const [rows, columns] = matrix.shape
    const used = Math.min(rank, order)
    const weight = (matrix.spectrum.frobenius / largest) ** 2
    const tail = tailAt(matrix.spectrum, ranks, used)
    least += weight * tail.atLeast
    most += weight * tail.atMost
    all += weight
    parameters += used * (rows + columns)
    bytes += used * (rows + columns) * matrix.bytesPerElement
    dense += rows * columns * matrix.bytesPerElement
  }
  const error = { atLeast: Math.sqrt(least / (all || 1)), atMost: Math.sqrt(most / (all || 1)) }
  return { rank, error, parameters, bytes, share: dense > 0 ? bytes / dense : 0 }
}

type Change = 'rank' | 'chosen'

/** What a reader has set; whoever shows it listens for changes. */
export interface Store {
  rank(): number
  setRank(rank: number): void
  /** Matrices whose curves are drawn in colour, the first chosen first: their index, and the number of the colour. */
  chosen(): ReadonlyMap<number, number>
  /** Chooses a matrix, or lets it go; where all colours are taken the one chosen first makes room. */
  toggle(index: number): void
  on(change: Change, listener: () => void): void
}

/** As many as there are colours that can be told apart. */
const COLOURS = 6

export function createStore(firstRank: number, firstChosen: readonly number[]): Store {
  let rank = firstRank
  const chosen = new Map(firstChosen.slice(0, COLOURS).map((index, i) => [index, i]))
  const listeners: Record<Change, (() => void)[]> = { rank: [], chosen: [] }
  const tell = (change: Change) => {
    for (const listener of listeners[change]) listener()
  }
  return {
    rank: () => rank,
    setRank(next) {
      if (next === rank) return
      rank = next
      tell('rank')
    },
    chosen: () => chosen,
    toggle(index) {
      if (!chosen.delete(index)) {
        const [oldest] = chosen.keys()
        if (chosen.size >= COLOURS) chosen.delete(oldest)
        const used = new Set(chosen.values())
        let colour = 0
        while (used.has(colour)) colour++
        chosen.set(index, colour)
      }
      tell('chosen')
    },
    on: (change, listener) => {
      listeners[change].push(listener)
    },
  }
}
