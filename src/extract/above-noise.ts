import type { NoiseFloor } from '../rank/noise-floor.ts'
import type { RankLimits, RankRule } from '../rank/rules.ts'
import { type KnownDelta, leadingValues, settledFloor } from '../rank/settled-floor.ts'
import type { TruncatedSvd } from '../truncation/types.ts'

/** The directions of a delta that stand above its noise. */
export interface AboveNoise {
  readonly found: TruncatedSvd
  readonly floor: number
  /** Most entries did not move, and no direction stands out of what is left of the change: one is kept all the same. */
  readonly isNotUnderstood: boolean
}

/** The least that is kept of a change that isn't understood. */
const LEAST_KEPT = 1

/**
 * Truncates where the spectrum settles the noise floor: what stands above it may lower it, which may let more stand above.
 * `noise` is left out for numbers that aren't rounded.
 */
export function aboveNoise(
  truncate: (rule: RankRule, limits: RankLimits) => TruncatedSvd,
  noise: NoiseFloor | undefined,
  { rows, columns }: { readonly rows: number; readonly columns: number },
  frobenius: number,
  limits: RankLimits,
): AboveNoise {
  const known = (S: Float64Array): KnownDelta => leadingValues(rows, columns, frobenius ** 2, S)
  const settledBy = (S: Float64Array) => (noise === undefined ? 0 : settledFloor(noise, known(S)))
  const above = (floor: number) => truncate({ kind: 'noise-floor', floor }, { minRank: 0, ...limits })
  const { maxRank = Number.POSITIVE_INFINITY } = limits
  let floor = settledBy(new Float64Array(0))
  let found = above(floor)
  for (;;) {
    const settled = settledBy(found.spectrum ?? found.S)
    if (!(settled < floor)) break
    floor = settled
    if (found.certificate.spectral.atMost <= floor || found.rank >= maxRank) break
    const before = known(found.S).above(floor)
    found = above(floor)
    if (known(found.S).above(floor) <= before) break
  }
  const isNotUnderstood = noise?.isSubUlp === true && known(found.S).above(floor) === 0
  const isEmpty = found.rank === 0 && limits.minRank === undefined
  return {
    found: isNotUnderstood && isEmpty ? truncate({ kind: 'rank', rank: LEAST_KEPT }, {}) : found,
    floor,
    isNotUnderstood,
  }
}
