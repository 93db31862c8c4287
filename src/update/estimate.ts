import { joinAccounts, type RoundingAccount } from './account.ts'

/**
 * The account of all rows from that of some, taken in batches. Both sums that are wanted go partly with ‖Δ‖², of which the total is
 * known where Δ is a product: the regression estimator (Cochran, "Sampling Techniques", 1977, chapter 7) takes that part of their
 * spread away. Where it isn't known, they are estimated as ratios to it (chapter 6).
 */

/** With fewer batches their spread says little. */
const LEAST_BATCHES = 8
/** The standard error that is aimed at, relative to each figure: half of what is promised. */
const STANDARD_ERROR = 0.005
/** Where next to nothing is kept, its share is known well enough to so much. */
const LEAST_GAIN_ERROR = 0.0005

type Part = 'kept' | 'residualSquared'

interface Estimate {
  /** For each unit of ‖Δ‖². */
  readonly ratio: number
  readonly standardError: number
}

/** A part's share of ‖Δ‖²; `share` of all rows were looked at, and all have this ‖Δ‖² where that is known. */
function estimate(
  batches: readonly RoundingAccount[],
  part: Part,
  share: number,
  deltaSquared: number | undefined,
): Estimate {
  const n = batches.length
  const mean = (of: (account: RoundingAccount) => number) =>
    batches.reduce((sum, one) => sum + of(one), 0) / n
  const [value, delta] = [mean((one) => one[part]), mean((one) => one.deltaSquared)]
  // what a batch has of it, if they are like all
  const whole = deltaSquared === undefined ? delta : (deltaSquared * share) / n
  const spread = batches.reduce((sum, one) => sum + (one.deltaSquared - delta) ** 2, 0)
  const together = batches.reduce((sum, one) => sum + (one.deltaSquared - delta) * (one[part] - value), 0)
  const slope = deltaSquared === undefined ? value / delta : spread === 0 ? 0 : together / spread
  const ratio = (value + slope * (whole - delta)) / whole
  const squares = batches.reduce(
    (sum, one) => sum + (one[part] - value - slope * (one.deltaSquared - delta)) ** 2,
    0,
  )
  const degrees = Math.max(1, n - 2)
  return { ratio, standardError: Math.sqrt((squares / degrees / n) * (1 - share)) / whole }
}

/** Whether the spread of the batches says that more of them would change little. */
export function isSure(
  batches: readonly RoundingAccount[],
  share: number,
  deltaSquared: number | undefined,
): boolean {
  if (batches.length < LEAST_BATCHES) return false
  if (deltaSquared === 0) return true
  if (joinAccounts(batches).deltaSquared === 0) return false
  const kept = estimate(batches, 'kept', share, deltaSquared)
  const residual = estimate(batches, 'residualSquared', share, deltaSquared)
  return (
    kept.standardError <= Math.max(STANDARD_ERROR * Math.abs(kept.ratio), LEAST_GAIN_ERROR) &&
    // the rounding error is its root, of half its relative error
    residual.standardError <= 2 * STANDARD_ERROR * Math.abs(residual.ratio)
  )
}

/** The account of all rows. */
export function estimated(
  batches: readonly RoundingAccount[],
  share: number,
  deltaSquared: number | undefined,
): RoundingAccount {
  const sample = joinAccounts(batches)
  if (sample.deltaSquared === 0 || deltaSquared === 0 || share === 1) return sample
  const whole = deltaSquared ?? sample.deltaSquared / share
  const known = batches.length < LEAST_BATCHES ? undefined : deltaSquared
  return {
    deltaSquared: whole,
    kept: estimate(batches, 'kept', share, known).ratio * whole,
    residualSquared: Math.max(0, estimate(batches, 'residualSquared', share, known).ratio) * whole,
    entries: sample.entries / share,
    changed: sample.changed / share,
    overflowed: sample.overflowed / share,
    nonFinite: sample.nonFinite / share,
  }
}
