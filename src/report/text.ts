import { counted } from '../formats/quote.ts'
import { shownName } from './names.ts'
import { grouped } from './numbers.ts'

/** Names listed of many. */
const LISTED_NAMES = 3

/** How many, and the first of them: 5 tensors (a, b, c, and 2 more). */
export const someTensors = (names: readonly string[]) =>
  `${counted(names.length, 'tensor')} (${firstOf(names.map(shownName))})`

/** The first few of many texts, and how many more there are. */
export function firstOf(texts: readonly string[]): string {
  const others = texts.length - LISTED_NAMES
  return `${texts.slice(0, LISTED_NAMES).join(', ')}${others > 0 ? `, and ${grouped(others)} more` : ''}`
}

/** Painted line by line: a colour that runs over a line's end colours the margin too. */
export const paintLines = (text: string, colour: (text: string) => string) =>
  text
    .split('\n')
    .map((line) => colour(line))
    .join('\n')
