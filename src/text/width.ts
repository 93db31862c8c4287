import { stripVTControlCharacters } from 'node:util'
import stringWidth from 'string-width'
import wrapAnsi from 'wrap-ansi'

/** How many columns of a terminal texts take, and texts cut and broken to fit: wide letters and emoji are never halved. */

/**
 * Letters and signs of one column each that join with nothing before or after them: most texts are of these alone, and are
 * measured without the tables of Unicode, which take longer to load than a command takes to start.
 */
export const PLAIN =
  /^[ -~\u00a1-\u00ac\u00ae-\u02ff\u0370-\u0482\u048a-\u052f\u1d00-\u1dbf\u2010-\u2027\u2030-\u205e\u2070-\u209c\u2190-\u21ff\u2200-\u22ff\u2500-\u25fc\u2800-\u28ff]*$/

/** The columns that a text takes on a terminal; colours take none. */
export function widthOf(text: string): number {
  const shown = stripVTControlCharacters(text)
  return PLAIN.test(shown) ? shown.length : stringWidth(shown)
}

/**
 * The text where it fits in `columns`, else its beginning and end around an ellipsis: `begin` columns of the beginning, and as
 * much of the end as there is room for.
 */
export function withoutMiddle(text: string, columns: number, begin: number): string {
  if (widthOf(text) <= columns) return text
  const characters = charactersOf(text)
  const start = fitting(characters, begin)
  const end = fitting(characters.toReversed(), columns - 1 - widthOf(start.join(''))).reverse()
  return `${start.join('')}…${end.join('')}`
}

let segmenter: Intl.Segmenter | undefined

/** The text in what a reader takes for single characters, of several code points where an emoji or an accent is. */
function charactersOf(text: string): string[] {
  if (PLAIN.test(text)) return [...text]
  segmenter ??= new Intl.Segmenter()
  return Array.from(segmenter.segment(text), ({ segment }) => segment)
}

/** As many of the first characters as fit. */
function fitting(characters: readonly string[], columns: number): string[] {
  let used = 0
  const end = characters.findIndex((character) => {
    used += widthOf(character)
    return used > columns
  })
  return end < 0 ? [...characters] : characters.slice(0, end)
}

/**
 * Breaks a line of words so that no line is wider than `width` columns, each line beginning with `indent`. A word that is wider
 * by itself, such as a path, is broken between any two characters, and its accents join their letters in Unicode's NFC form.
 */
export function wrap(text: string, width: number, indent = ''): string {
  const room = Math.max(1, width - indent.length)
  const lines: string[] = []
  let [line, used] = ['', 0]
  for (const word of text.split(' ').flatMap((word) => pieces(word, room))) {
    const added = widthOf(word)
    if (line !== '' && used + 1 + added > room) {
      lines.push(indent + line)
      ;[line, used] = [word, added]
    } else if (line === '') [line, used] = [word, added]
    else [line, used] = [`${line} ${word}`, used + 1 + added]
  }
  return [...lines, indent + line].join('\n')
}

const pieces = (word: string, columns: number): string[] =>
  widthOf(word) <= columns
    ? [word]
    : wrapAnsi(word, columns, { hard: true, wordWrap: false, trim: false }).split('\n')
