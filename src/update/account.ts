/** What rounding left of an update Δ that was added to stored weights. */

/** Sums over the entries whose W + Δ is finite and stays so; `overflowed` and `nonFinite` count the others. */
export interface RoundingAccount {
  /** ΣΔ². */
  readonly deltaSquared: number
  /** Σ(stored − W)·Δ: how much of Δ the stored weights moved along. */
  readonly kept: number
  /** Σ(stored − W − Δ)². */
  readonly residualSquared: number
  /** All entries. */
  readonly entries: number
  /** Entries that are stored as another number than W's: of −0 and 0, and of a NaN and a NaN, neither is another. */
  readonly changed: number
  /** Entries whose W + Δ is finite and stored as infinity. */
  readonly overflowed: number
  /** Entries whose W + Δ is infinite or NaN, as where W is. */
  readonly nonFinite: number
}

/** The account of no entries. */
export const NOTHING_ROUNDED: RoundingAccount = {
  deltaSquared: 0,
  kept: 0,
  residualSquared: 0,
  entries: 0,
  changed: 0,
  overflowed: 0,
  nonFinite: 0,
}

/** The account of the entries of all; sums are added in order. */
export function joinAccounts(accounts: Iterable<RoundingAccount>): RoundingAccount {
  const sum = { ...NOTHING_ROUNDED }
  const keys = Object.keys(sum) as (keyof RoundingAccount)[]
  for (const account of accounts) for (const key of keys) sum[key] += account[key]
  return sum
}

/** The factor of Δ that is stored, in the sense of least squares: 1 where rounding took nothing, as where Δ is 0. */
export const gain = ({ kept, deltaSquared }: RoundingAccount): number =>
  deltaSquared === 0 ? 1 : kept / deltaSquared

/** ‖stored − W − Δ‖_F / ‖Δ‖_F: how far what is stored is from what was to be added; 0 where Δ is 0. */
export const roundingError = ({ residualSquared, deltaSquared }: RoundingAccount): number =>
  deltaSquared === 0 ? 0 : Math.sqrt(residualSquared / deltaSquared)
