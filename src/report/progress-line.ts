import { duration, short } from '../text/numbers.ts'
import { printable } from '../text/quote.ts'
import { widthOf, withoutMiddle } from '../text/width.ts'

/** What a progress line shows. */
export interface ProgressState {
  /** What is being done: `inspecting`. */
  readonly label: string
  /** What is counted, in the plural: `matrices`. */
  readonly noun: string
  readonly done: number
  readonly items: number
  /** Share of the work that is done, 0 to 1. */
  readonly share: number
  readonly itemsPerSecond?: number | undefined
  /** Instead of items a second. */
  readonly bytesPerSecond?: number | undefined
  readonly secondsLeft?: number | undefined
  /** The item in hand. */
  readonly name: string
}

/** From so many columns on there is room for words, a bar and a long name; a short bar; a rate. */
const WIDE = 110
const MEDIUM = 90
const NARROW = 56
/** A name cut to less can't be recognised. */
const LEAST_NAME = 12
const GAP = '  '

/** One line, at most `columns` wide, about how far work is. The wider, the more it says. */
export function progressLine(state: ProgressState, columns: number): string {
  const { label, noun, done, items, share, secondsLeft } = state
  const isWide = columns >= WIDE
  const head = isWide ? `${label} ${done} of ${items} ${noun}` : `${label} ${done}/${items}`
  const bar = isWide ? barOf(share, 20) : columns >= MEDIUM ? barOf(share, 10) : ''
  const parts = [
    head,
    `${bar}${String(Math.floor(share * 100)).padStart(bar === '' ? 0 : 3)} %`,
    columns >= NARROW ? rateOf(state, isWide) : '',
    secondsLeft === undefined ? '' : `${duration(secondsLeft)} left`,
  ]
  const text = parts.filter((part) => part !== '').join(GAP)
  const room = columns - widthOf(text) - GAP.length
  if (room < Math.min(LEAST_NAME, widthOf(state.name)) || state.name === '') return cutMiddle(text, columns)
  return text + GAP + cutMiddle(printable(state.name), room)
}

/** A share as a bar; part of a cell is a thin half. */
function barOf(share: number, cells: number): string {
  const halves = Math.floor(share * cells * 2)
  const full = '━'.repeat(Math.floor(halves / 2)) + (halves % 2 === 1 ? '╸' : '')
  return `${full.padEnd(cells, '·')} `
}

function rateOf({ itemsPerSecond, bytesPerSecond, noun }: ProgressState, isWide: boolean): string {
  if (bytesPerSecond !== undefined) return `${short(bytesPerSecond / 1e6, 2)} MB/s`
  if (itemsPerSecond === undefined) return ''
  const what = isWide ? ` ${noun}` : ''
  return itemsPerSecond >= 1
    ? `${short(itemsPerSecond, 2)}${what}/s`
    : `${short(itemsPerSecond * 60, 2)}${what}/min`
}

/** The text where it fits in `columns`, else its beginning and end around an ellipsis. */
export const cutMiddle = (text: string, columns: number): string =>
  withoutMiddle(text, columns, Math.ceil((columns - 1) / 2))
