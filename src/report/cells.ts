import type { IntegerRange, Interval } from '../linalg/spectrum/spectrum.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { grouped, lowered, raised, short } from '../text/numbers.ts'

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

/** The same of one that is known within bounds: 3.4, or 138–283. */
export function realRankRange({ atLeast, atMost }: Interval): string {
  const [low, high] = [realRank(atLeast), realRank(atMost)]
  return low === high ? low : `${grouped(Math.floor(atLeast))}–${grouped(Math.ceil(atMost))}`
}

/** One figure where both ends read the same, else both, each rounded outwards. */
export function intervalCell({ atLeast, atMost }: Interval): string {
  const [low, high] = [figure(atLeast), figure(atMost)]
  return low === high ? low : bothEnds(atLeast, atMost, DIGITS, figure)
}

/** Significant digits of a single figure, of the least that stand for one, and of two ends. */
const MOST_DIGITS = 6
const LEAST_DIGITS = 3
const END_DIGITS = 4

/** A figure with as many digits as both ends agree in, six at most; where that are fewer than three, both ends. */
export function intervalFigure({ atLeast, atMost }: Interval): string {
  for (let digits = MOST_DIGITS; digits >= LEAST_DIGITS; digits--) {
    if (short(atLeast, digits) === short(atMost, digits)) return short(atLeast, digits)
  }
  return bothEnds(atLeast, atMost, END_DIGITS, (x) => short(x, END_DIGITS))
}

const bothEnds = (atLeast: number, atMost: number, digits: number, text: (x: number) => string) =>
  `${text(atLeast > 0 ? lowered(atLeast, digits) : 0)} … ${Number.isFinite(atMost) ? text(raised(atMost, digits)) : '∞'}`

/** Paints word by word, so that the text can be wrapped and no colour runs over a line's end. */
export const paintWords = (text: string, colour: (text: string) => string) =>
  text
    .split(' ')
    .map((word) => colour(word))
    .join(' ')

/** Relative errors that leave 1 % and 10 % of ‖·‖_F². */
const SMALL_ERROR = Math.sqrt(1 - 0.99)

const FAIR_ERROR = Math.sqrt(1 - 0.9)

/** From here on nothing at all would be as near. */
const USELESS_ERROR = 1

/** The colour of a relative error: red above what is allowed, or else by how much of the matrix it leaves. */
export function errorPaint(
  error: number,
  paint: Terminal['paint'],
  allowed?: number,
): (text: string) => string {
  if (allowed !== undefined) return error <= allowed ? paint.green : paint.red
  if (error <= SMALL_ERROR) return paint.green
  if (error <= FAIR_ERROR) return paint.yellow
  return error < USELESS_ERROR ? paint.magenta : paint.red
}
