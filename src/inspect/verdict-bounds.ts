import type { Interval, Spectrum } from '../spectrum/types.ts'

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

/** The same for a numerical rank, after which there is nothing. */
export function lowExactRankLimit(rows: number, columns: number): number {
  return Math.floor(breakEven(rows, columns) / EXACT_RANK_SAVING)
}

/** min(rows, columns): how many singular values there are. */
export const orderOf = ({ rows, columns }: Spectrum) => Math.min(rows, columns)

/**
 * Bounds of the share of ‖A‖_F² that the best approximation of rank r keeps, r above what is computed too: each singular
 * value that isn't given is at most `next.atMost`. 1 for a zero matrix.
 */
export function energyKept(spectrum: Spectrum, r: number): Interval {
  const { singularValues: S, frobenius, complete, excess, next } = spectrum
  if (!(frobenius > 0)) return { atLeast: 1, atMost: 1 }
  let given = 0
  for (let i = Math.min(r, S.length) - 1; i >= 0; i--) given += (S[i] / frobenius) ** 2
  if (r >= orderOf(spectrum)) return { atLeast: 1, atMost: 1 }
  const beyond = complete ? 0 : Math.max(0, r - S.length) * (next.atMost / frobenius) ** 2
  return { atLeast: Math.min(1, given), atMost: Math.min(1, given + excess + beyond) }
}
