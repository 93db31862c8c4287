import type { IntegerRange, Interval } from '../../../linalg/spectrum/spectrum.ts'
import { grouped, short } from '../../../text/numbers.ts'

/** Where nothing is known. */
export const NONE = '–'

const DIGITS = 4
/** Bounds that agree to so much are shown as one number. */
const SAME = 1e-3

/** One number, or the two bounds where they differ. */
export function intervalText({ atLeast, atMost }: Interval): string {
  if (atMost - atLeast <= SAME * atMost) return numberText(atMost)
  return atLeast > 0 ? `${short(atLeast, 3)} – ${short(atMost, 3)}` : `≤ ${short(atMost, 3)}`
}

/** One integer, or both bounds; a bound that is no more than the order says nothing. */
export function rangeText({ atLeast, atMost }: IntegerRange, order = Number.POSITIVE_INFINITY): string {
  if (atLeast < atMost && atMost >= order) return `≥ ${grouped(atLeast)}`
  return atLeast === atMost ? grouped(atMost) : `${grouped(atLeast)} – ${grouped(atMost)}`
}

/** The same in as little room as a cell has: 65+ where only the lower bound is known. */
export function rangeCell({ atLeast, atMost }: IntegerRange): string {
  if (atLeast === atMost) return String(atMost)
  return atMost > 1.5 * atLeast + 2 ? `${atLeast}+` : `≤${atMost}`
}

/** A measured number: as many digits as others of its column have. */
export function numberText(x: number): string {
  return x >= 1e-3 && x < 10 ** DIGITS ? x.toPrecision(DIGITS) : short(x, DIGITS)
}
