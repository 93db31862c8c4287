import { exponential, naturalLog } from '../../random/portable-math.ts'

/**
 * What a spectrum says about rank. S holds all singular values, non-increasing; 0·ln 0 counts as 0, and a zero
 * matrix gives 0 everywhere. Squares are taken of S / S[0], so that no size of entries over- or underflows.
 */

/** The largest singular value that still counts as zero: S_max · max(d, k) · eps, as NumPy's matrix_rank has it. */
export function rankTolerance(S: Float64Array, rows: number, columns: number, epsilon: number): number {
  return (S[0] ?? 0) * Math.max(rows, columns) * epsilon
}

/** The numerical rank: how many singular values exceed `rankTolerance`. */
export function numericalRank(S: Float64Array, rows: number, columns: number, epsilon: number): number {
  return rankAboveFloor(S, rankTolerance(S, rows, columns, epsilon))
}

/** How many singular values exceed `floor`. */
export function rankAboveFloor(S: Float64Array, floor: number): number {
  return S.reduce((count, s) => count + (s > floor ? 1 : 0), 0)
}

/** ‖A‖_F² / ‖A‖₂². */
export function stableRank(S: Float64Array): number {
  return tailEnergies(S)[0]
}

/** exp of the Shannon entropy of S / ΣS (Roy & Vetterli 2007, eq. 4). */
export function effectiveRank(S: Float64Array): number {
  if (!(S[0] > 0)) return 0
  const sum = S.reduce((total, s) => total + s / S[0], 0)
  let entropy = 0
  for (const s of S) {
    const share = s / S[0] / sum
    if (share > 0) entropy -= share * naturalLog(share)
  }
  return exponential(Math.max(0, entropy))
}

/** The least r whose leading r singular values hold the share `energy` of ‖A‖_F². */
export function energyRank(S: Float64Array, energy: number): number {
  return leastRankWithTail(S, tailOfEnergy(energy))
}

/** The least r with ‖A − A_r‖_F ≤ error · ‖A‖_F, A_r the best approximation of rank r (Eckart & Young 1936). */
export function errorRank(S: Float64Array, error: number): number {
  return leastRankWithTail(S, tailOfError(error))
}

/** ‖A − A_r‖_F / ‖A‖_F of the best approximation of rank r; 0 for a zero matrix. */
export function optimalError(S: Float64Array, r: number): number {
  const tails = tailEnergies(S)
  return tails[0] === 0 ? 0 : Math.sqrt(tails[Math.min(r, S.length)] / tails[0])
}

function leastRankWithTail(S: Float64Array, share: number): number {
  const tails = tailEnergies(S)
  return tails.findIndex((tail) => tail <= share * tails[0])
}

/** tails[r] = Σ_{i ≥ r} (S[i] / S[0])², for r = 0 … n, summed from the smallest so that small tails keep their digits. */
function tailEnergies(S: Float64Array): Float64Array {
  const tails = new Float64Array(S.length + 1)
  if (!(S[0] > 0)) return tails
  for (let i = S.length - 1; i >= 0; i--) tails[i] = tails[i + 1] + (S[i] / S[0]) ** 2
  return tails
}

/**
 * By how much more than a rule allows may be left out, relative to what it allows: for singular values that are equal but for
 * rounding, `--energy k/n` is a tie at k. The tail of n of them was found 3 (n = 5) to 52 (n = 300) units of 2⁻⁵² off and grows
 * with n; this room, 1,024 units, changes an error that is allowed in its thirteenth digit.
 */
const TIE_ROOM = 2 ** -42

/** A share such as 2/3 is itself rounded by up to half of this. */
const SHARE_UNIT = 2 ** -53

/** The share of ‖A‖_F² that may be left out where this share is to be kept: nothing where all is. */
export function tailOfEnergy(energy: number): number {
  return energy >= 1 ? 0 : (1 - energy + SHARE_UNIT) * (1 + TIE_ROOM)
}

/** The same where the relative error may be this. */
export function tailOfError(error: number): number {
  return error * error * (1 + TIE_ROOM)
}
