import { epsilonOf } from '../matrix/matrix.ts'
import {
  effectiveRank,
  energyRank,
  numericalRank,
  optimalError,
  rankAboveFloor,
  rankTolerance,
  stableRank,
  tailOfEnergy,
} from './ranks.ts'
import type { IntegerRange, Interval, Rounding, Spectrum } from './spectrum.ts'

/**
 * What a spectrum says about rank, as ranges that hold the truth whatever the values that are not known are. Squares are
 * taken relative to ‖A‖_F². With L leading values S given, c(r) = Σ_{i≤r} S_i², and x(r) ≥ Σ_{i≤r} (σ_i² − S_i²), the tail
 * t(r) = Σ_{i>r} σ_i² lies in [1 − c(r) − x(r), 1 − c(r)] for r ≤ L. Beyond, each value is at most `next`, and values
 * fall, so that the last n − r of n − L hold at most their share: (r − L)·next² ≥ t(L) − t(r), t(r) ≤ t(L)·(n − r)/(n − L).
 */

/** Rounding of sums of squares in float64, in epsilons times the root of the longer side. */
const SUM_EPSILONS = 8

export const orderOf = ({ rows, columns }: Spectrum): number => Math.min(rows, columns)

/** How many of the spectra have bounds that are wrong with a small probability each; no field for none. */
export function certifiedField(spectra: readonly Pick<Spectrum, 'failureProbability'>[]): {
  readonly certified?: number
} {
  const certified = spectra.filter(({ failureProbability }) => failureProbability > 0).length
  return certified > 0 ? { certified } : {}
}

/** ‖A − A_r‖_F / ‖A‖_F of the best approximation of rank r (Eckart & Young 1936); 0 for a zero matrix. */
export function errorAt(s: Spectrum, r: number): Interval {
  if (s.complete) {
    const error = optimalError(s.singularValues, r)
    return { atLeast: error, atMost: error }
  }
  const { atLeast, atMost } = tailsOf(s)(r)
  return { atLeast: Math.sqrt(atLeast), atMost: Math.sqrt(atMost) }
}

/** The least r whose leading r singular values hold the share of ‖A‖_F². */
export function energyRanks(s: Spectrum, share: number): IntegerRange {
  if (s.complete) return both(energyRank(s.singularValues, share))
  const at = tailsOf(s)
  const target = tailOfEnergy(share)
  const order = orderOf(s)
  return {
    atLeast: leastWhere(order, (r) => at(r).atLeast <= target),
    atMost: leastWhere(order, (r) => at(r).atMost <= target),
  }
}

/** How many singular values exceed S₁ · max(rows, columns) · epsilon, as NumPy's matrix_rank counts. */
export function numericalRankOf(s: Spectrum): IntegerRange {
  if (s.complete) return both(numericalRank(s.singularValues, s.rows, s.columns, s.epsilon))
  const side = Math.max(s.rows, s.columns)
  const largest = spectralOf(s)
  const { atLeast } = rankAbove(s, largest.atMost * side * s.epsilon)
  return { atLeast, atMost: rankAbove(s, largest.atLeast * side * s.epsilon).atMost }
}

/** ‖A‖₂, the largest singular value. In a flat spectrum the iteration hasn't found all of it. */
export function spectralOf(s: Spectrum): Interval {
  return s.singularValues.length === 0 ? { atLeast: 0, atMost: 0 } : valueAt(s, 0)
}

/** ‖A‖_F² / ‖A‖₂², which lies between 1 and the order; 0 for a zero matrix. */
export function stableRankOf(s: Spectrum): Interval {
  const { frobenius } = s
  if (s.complete || !(frobenius > 0)) return both(stableRank(s.singularValues))
  const { atLeast, atMost } = spectralOf(s)
  return {
    atLeast: Math.max(1, (frobenius / atMost) ** 2),
    atMost: Math.min(orderOf(s), (frobenius / atLeast) ** 2),
  }
}

/** σ of the value at [i], one of those that are given; a known one has atLeast = atMost. */
export function valueAt(s: Spectrum, i: number): Interval {
  if (s.complete) return both(s.singularValues[i])
  const slack = roundingOf(s).value * s.frobenius
  return { atLeast: Math.max(0, s.singularValues[i] - slack), atMost: upperOf(s, i) }
}

/**
 * The level up to which singular values are rounding: what counts as zero in the numerical rank, or where it is more, how far
 * the values that an iteration gives may be off.
 */
export function roundingLevelOf(s: Spectrum): number {
  const tolerance = rankTolerance(s.singularValues, s.rows, s.columns, s.epsilon)
  return s.complete ? tolerance : Math.max(tolerance, roundingOf(s).value * s.frobenius)
}

/** exp of the Shannon entropy of S / ΣS (Roy & Vetterli 2007); undefined unless all values are known. */
export function effectiveRankOf(s: Spectrum): number | undefined {
  return s.complete ? effectiveRank(s.singularValues) : undefined
}

/** How many singular values exceed `floor`, an absolute value ≥ 0. */
export function rankAbove(s: Spectrum, floor: number): IntegerRange {
  const { singularValues: S, frobenius } = s
  if (s.complete) return both(rankAboveFloor(S, floor))
  const shown = rankAboveFloor(S, floor + roundingOf(s).value * frobenius)
  return { atLeast: Math.max(shown, countByEnergy(s, floor)), atMost: mostAbove(s, floor) }
}

/** The first value that is certainly not above the floor ends the count. */
function mostAbove(s: Spectrum, floor: number): number {
  const { singularValues: S, next } = s
  const first = S.findIndex((_, i) => upperOf(s, i) <= floor)
  if (first >= 0) return first
  return next.atMost > floor ? mostByEnergy(s, floor) : S.length
}

/** Values above the floor use up energy: Σ_{i≤m} σ_i² ≤ ‖A‖_F² and every one of them is above it. */
function mostByEnergy(s: Spectrum, floor: number): number {
  const order = orderOf(s)
  const L = s.singularValues.length
  const square = (floor / s.frobenius) ** 2
  const left = tailsOf(s)(L).atMost
  return square > 0 ? Math.min(order, L + Math.floor(left / square)) : order
}

/** Beyond the values given, m above the floor hold at most m·next² and the others floor² each. */
function countByEnergy(s: Spectrum, floor: number): number {
  const L = s.singularValues.length
  const low = (floor / s.frobenius) ** 2
  const high = (s.next.atMost / s.frobenius) ** 2
  if (!(high > low) || !(s.frobenius > 0)) return 0
  const surplus = tailsOf(s)(L).atLeast - (orderOf(s) - L) * low
  const shownLeast = s.next.atLeast > floor ? L + 1 : 0
  return Math.max(shownLeast, surplus > 0 ? L + Math.ceil(surplus / (high - low)) : 0)
}

/** Σ_{i>r} σ_i² / ‖A‖_F² as a function of r. */
function tailsOf(s: Spectrum): (r: number) => Interval {
  const { singularValues: S, frobenius, next } = s
  const L = S.length
  const order = orderOf(s)
  const { squares: rounding } = roundingOf(s)
  const held = new Float64Array(L + 1)
  for (let i = 0; i < L; i++) held[i + 1] = held[i] + (S[i] / frobenius) ** 2
  const nextSquare = (next.atMost / frobenius) ** 2
  const within = (r: number) => ({
    atLeast: Math.max(0, 1 - held[r] - missed(s, r) - rounding, held[L] - held[r] - rounding),
    atMost: Math.min(1, Math.max(0, 1 - held[r]) + rounding),
  })
  const last = within(L)
  return (r) => {
    if (!(frobenius > 0) || r >= order) return { atLeast: 0, atMost: 0 }
    if (r <= L) return within(r)
    return {
      atLeast: Math.max(0, last.atLeast - (r - L) * nextSquare),
      atMost: (last.atMost * (order - r)) / (order - L),
    }
  }
}

function roundingOf({ rows, columns, rounding }: Spectrum): Rounding {
  const squares = SUM_EPSILONS * epsilonOf.f64 * Math.sqrt(Math.max(rows, columns))
  return rounding ?? { value: Math.sqrt(squares), squares }
}

/** At least Σ_{i≤r} (σ_i² − S_i²) / ‖A‖_F², for r up to the values given. */
const missed = ({ excess, excesses }: Spectrum, r: number): number =>
  r === 0 ? 0 : (excesses?.[r] ?? excess)

/** At least σ of the value at [i]: σ² is at most S² and all that is missed up to it. */
function upperOf(s: Spectrum, i: number): number {
  if (s.upper !== undefined) return s.upper[i]
  const slack = roundingOf(s).value * s.frobenius
  return Math.hypot(s.singularValues[i] + slack, s.frobenius * Math.sqrt(missed(s, i + 1)))
}

const both = (value: number): Interval => ({ atLeast: value, atMost: value })

/** The least r in 0 … most with `holds`, which is false below it and true from it on; `most` where none has. */
export function leastWhere(most: number, holds: (r: number) => boolean): number {
  let low = 0
  let high = most
  while (low < high) {
    const middle = (low + high) >> 1
    if (holds(middle)) high = middle
    else low = middle + 1
  }
  return low
}

/**
 * ‖tuned − base‖_F / ‖base‖_F of independent matrices is √(1 + ‖tuned‖²/‖base‖²): never below this, and √2 for equal norms.
 * What fine-tuning changes is a small part of a weight.
 */
export const UNRELATED_CHANGE = 1

/** A relative error up to this is float32's rounding: nothing is left. */
export const ROUNDING_ERROR = 2 ** -20

/** 1 / this of the entries of a matrix is what factors of a low rank hold at most. */
const LOW_RANK_SAVING = 4
/** Ranks that LoRA is commonly used with: low also where they save only a half, as for a matrix of order 64. */
const COMMON_RANK = 16
/** A matrix that has exactly this rank is nothing but its factors: to save a half is enough. */
const EXACT_RANK_SAVING = 2

/** The rank at which the two factors of a [rows, columns] matrix hold as many entries as itself. */
const breakEven = (rows: number, columns: number) => (rows * columns) / (rows + columns || 1)

/** The highest rank that counts as low for a matrix of this shape, where `rank` directions keep almost everything. */
export function lowRankLimit(rows: number, columns: number): number {
  const even = breakEven(rows, columns)
  return Math.floor(Math.max(even / LOW_RANK_SAVING, Math.min(even / EXACT_RANK_SAVING, COMMON_RANK)))
}

/** The same for a numerical rank, after which there is nothing: rank 1 is low for all but a single row or column. */
export function lowExactRankLimit(rows: number, columns: number): number {
  const least = Math.min(rows, columns) > 1 ? 1 : 0
  return Math.max(least, Math.floor(breakEven(rows, columns) / EXACT_RANK_SAVING))
}

/** Bounds of the share of ‖A‖_F² that the best approximation of rank r keeps; 1 for a zero matrix. */
export function energyKept(spectrum: Spectrum, r: number): Interval {
  const { atLeast, atMost } = errorAt(spectrum, r)
  return { atLeast: 1 - atMost ** 2, atMost: 1 - atLeast ** 2 }
}
