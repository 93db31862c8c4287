import type { IntegerRange, Interval } from '../spectrum/types.ts'
import { grouped, short } from './numbers.ts'

/** What can't be known. */
export const UNKNOWN = '–'

/** Upper ends of more than this times the lower say nothing, and take room. */
const TELLING_RATIO = 2

/** 14, or 14–16, or `≥ 64` where the upper end is the order of the matrix. */
export function rangeText({ atLeast, atMost }: IntegerRange, order: number): string {
  if (atLeast === atMost) return grouped(atLeast)
  if (atMost < order) return `${grouped(atLeast)}–${grouped(atMost)}`
  return atLeast > 0 ? `≥ ${grouped(atLeast)}` : UNKNOWN
}

/** The same where there is little room: `≥ 64` too where the upper end is far off. */
export function rangeCell(range: IntegerRange, order: number): string {
  const { atLeast, atMost } = range
  return rangeText(atMost > TELLING_RATIO * atLeast ? { atLeast, atMost: order } : range, order)
}

/** Significant digits of a figure in a table. */
const DIGITS = 3

/** Three significant digits, zeros too, so that a column of them lines up; infinity where there is nothing to compare with. */
export function figure(x: number | undefined): string {
  if (x === undefined || Number.isNaN(x)) return UNKNOWN
  if (!Number.isFinite(x)) return '∞'
  return x >= 1e-3 && x < 10 ** DIGITS ? x.toPrecision(DIGITS) : short(x, DIGITS)
}

/** A setting, as alpha: 16, 0.5. */
export const setting = (x: number | undefined) => (x === undefined ? UNKNOWN : short(x))

/** A rank that is no integer: 3.4. */
export const realRank = (x: number | undefined) => (x === undefined ? UNKNOWN : x.toFixed(1))

/** One figure where both ends read the same, else both. */
export function intervalCell({ atLeast, atMost }: Interval): string {
  const [low, high] = [figure(atLeast), figure(atMost)]
  return low === high ? low : `${low} … ${high}`
}

/** Paints word by word, so that the text can be wrapped and no colour runs over a line's end. */
export const paintWords = (text: string, colour: (text: string) => string) =>
  text
    .split(' ')
    .map((word) => colour(word))
    .join(' ')
