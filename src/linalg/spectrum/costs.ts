import { errorAt, leastWhere, orderOf } from './measures.ts'
import type { IntegerRange, RankCost, Spectrum } from './spectrum.ts'

/** What the costs of a rank need to know of one matrix. */
export interface RankedMatrix {
  readonly spectrum: Spectrum
  /** Of one entry of its factors, as they would be stored. */
  readonly bytesPerEntry: number
  /** Of a delta: how many singular values stand above the rounding of the stored dtypes. */
  readonly rankAboveNoise?: IntegerRange
}

/** One rank for all matrices, and why; no rank where none is both small and good. */
export interface RankAdvice {
  readonly rank?: number
  /** A sentence with its figures. */
  readonly reason: string
}

/** The share of the energy of all matrices that a recommended rank keeps: a relative error of 10 %. */
const ENERGY_KEPT = 0.99
/** Factors of more entries than this share of the matrices' own save too little to be worth an error. */
const LARGEST_SHARE = 0.5

/**
 * What each rank would take and leave if all matrices got it; a matrix of lower order gets its order. The error is of the best
 * approximations, over all matrices together.
 */
export function rankCosts(matrices: readonly RankedMatrix[], ranks: readonly number[]): RankCost[] {
  return ranks.map((rank) => ({ rank, ...costOf(matrices, rank) }))
}

function costOf(matrices: readonly RankedMatrix[], rank: number): Omit<RankCost, 'rank'> {
  let parameters = 0
  let bytes = 0
  let total = 0
  let least = 0
  let most = 0
  const scale = largestNorm(matrices)
  for (const { spectrum, bytesPerEntry } of matrices) {
    const entries = Math.min(rank, orderOf(spectrum)) * (spectrum.rows + spectrum.columns)
    parameters += entries
    bytes += entries * bytesPerEntry
    // Relative to the largest norm, so that no square over- or underflows.
    const energy = (spectrum.frobenius / scale) ** 2
    const { atLeast, atMost } = errorAt(spectrum, rank)
    total += energy
    least += energy * atLeast ** 2
    most += energy * atMost ** 2
  }
  const relative = (squares: number) => (total > 0 ? Math.sqrt(squares / total) : 0)
  return { parameters, bytes, relativeError: { atLeast: relative(least), atMost: relative(most) } }
}

const largestNorm = (matrices: readonly RankedMatrix[]): number =>
  matrices.reduce((largest, { spectrum }) => Math.max(largest, spectrum.frobenius), 0) || 1

/**
 * The least rank that keeps 99 % of the energy of all matrices, but none that only adds rounding: no more than stands above the
 * noise in any of them, where that is known of all. No rank where its factors would have more than half of the matrices' entries.
 */
export function recommendedRank(matrices: readonly RankedMatrix[]): RankAdvice {
  const highest = matrices.reduce((most, { spectrum }) => Math.max(most, orderOf(spectrum)), 0)
  const leastRank = (bound: 'atLeast' | 'atMost') =>
    leastWhere(highest, (r) => costOf(matrices, r).relativeError[bound] ** 2 <= 1 - ENERGY_KEPT)
  if (!(costOf(matrices, 0).relativeError.atMost > 0)) {
    return { reason: 'There is nothing to approximate: all matrices are zero.' }
  }
  const aboveNoise = mostAboveNoise(matrices)
  if (aboveNoise === 0) return { reason: 'Nothing stands above the rounding of the stored numbers.' }
  const enough = leastRank('atMost')
  const isNoise = aboveNoise !== undefined && aboveNoise < enough
  const rank = isNoise ? aboveNoise : enough
  if (!isSmall(matrices, rank)) return { reason: whyNone(matrices, leastRank('atLeast'), enough) }
  const left = `the relative error is ${errorText(costOf(matrices, rank).relativeError.atMost)}.`
  const reason = isNoise
    ? `No matrix has more than ${rank} directions above the rounding of the stored numbers; ${left}`
    : `${keptBy(rank, leastRank('atLeast'))} of the energy of all matrices; ${left}`
  return { rank, reason }
}

/** That the rank keeps 99 %, and whether a lower one may. */
function keptBy(rank: number, least: number): string {
  if (least === rank) return `Rank ${rank} is the least that keeps ${percent(ENERGY_KEPT)}`
  return `Rank ${rank} keeps ${percent(ENERGY_KEPT)}, and at least ${least} is needed for it (--full tells),`
}

/** The most directions above the noise in any matrix; undefined where that is not known of all. */
function mostAboveNoise(matrices: readonly RankedMatrix[]): number | undefined {
  let most = 0
  for (const { rankAboveNoise } of matrices) {
    if (rankAboveNoise === undefined) return undefined
    most = Math.max(most, rankAboveNoise.atMost)
  }
  return most
}

function entriesOf(matrices: readonly RankedMatrix[]): number {
  return matrices.reduce((sum, { spectrum }) => sum + spectrum.rows * spectrum.columns, 0)
}

const isSmall = (matrices: readonly RankedMatrix[], rank: number): boolean =>
  costOf(matrices, rank).parameters <= LARGEST_SHARE * entriesOf(matrices)

function whyNone(matrices: readonly RankedMatrix[], least: number, most: number): string {
  const needed = least === most ? `rank ${least}` : `a rank from ${least} to ${most}`
  const share = costOf(matrices, least).parameters / entriesOf(matrices)
  return (
    `No rank is recommended: ${percent(ENERGY_KEPT)} of the energy takes ${needed}, ` +
    `and factors of rank ${least} have ${percent(share)} of the matrices’ entries.`
  )
}

/** As it may be, rounded to three digits; small ones in scientific form. */
function errorText(error: number): string {
  if (error === 0) return '0'
  return `${error < 1e-3 ? error.toExponential(2) : Number(error.toPrecision(3))} at most`
}

const percent = (share: number): string => `${Number((100 * share).toPrecision(3))} %`
