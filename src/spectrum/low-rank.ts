import { errorAt } from './measures.ts'
import type { Interval, Spectrum } from './types.ts'

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
