import type { Terminal } from '../terminal/terminal.ts'
import { someTensors } from '../text/names.ts'
import { grouped, percentDown } from '../text/numbers.ts'
import { paintLines, printable } from '../text/quote.ts'
import { wrap } from '../text/width.ts'

/** What a reader should know besides, in sentences below a report. */

type Screen = Pick<Terminal, 'paint' | 'columns'>

/** A sentence in lines that fit the terminal. */
export const note = (
  text: string,
  colour: (text: string) => string,
  { columns }: Pick<Screen, 'columns'>,
): string => paintLines(wrap(text, columns), colour)

/** What stops nothing, one note each. */
export const warningNotes = (warnings: readonly string[], screen: Screen): string[] =>
  warnings.map((warning) => note(`Warning: ${printable(warning)}`, screen.paint.yellow, screen))

/** Which tensors of two models are equal; none where none are. */
export const equalNotes = (unchanged: readonly string[], screen: Screen): string[] =>
  unchanged.length === 0 ? [] : [note(`Equal in both: ${someTensors(unchanged)}.`, screen.paint.dim, screen)]

/** How many tensors of two models found their counterpart. */
export interface Matching {
  readonly matched: number
  readonly unmatched: number
}

/** That a comparison is of a part of the models, as a sentence's middle; undefined where it is of all. */
export function partText({ matched, unmatched }: Matching): string | undefined {
  if (unmatched === 0) return undefined
  const all = matched + unmatched
  return `only ${grouped(matched)} of ${grouped(all)} tensors (${percentDown(matched / all)}) have their counterpart in the other model`
}
