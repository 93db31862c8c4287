import { printable } from '../../text/quote.ts'

/** Names and figures as a model card's Markdown has them. */

/** Lines of a table; a mixture of experts has tens of thousands of layers. */
const LISTED = 1000

/** `0.000123`, `4.1e-150`: as wide as any figure, known or not, so that a card's length is known before they are. */
const FIGURE_WIDTH = 8
const UNKNOWN = '-'
/** From here on a figure is plain, below it has an exponent. */
const LEAST_PLAIN = 1e-4
const MOST_PLAIN = 999.5
/** The least number that is shown with three digits of exponent, and the least that is shown at all. */
const LARGEST_SHOWN = 9.95e99
const LEAST_SHOWN = 1e-99

/** A figure of three significant digits, or of two and an exponent, padded to one width: 0.392, 0.00123, 4.1e-7. */
export function cardFigure(value: number | undefined): string {
  return figureText(value).padStart(FIGURE_WIDTH)
}

function figureText(value: number | undefined): string {
  if (value === undefined) return UNKNOWN
  if (!Number.isFinite(value) || value >= LARGEST_SHOWN) return 'huge'
  if (value < LEAST_SHOWN) return '0'
  return value >= LEAST_PLAIN && value < MOST_PLAIN ? value.toPrecision(3) : value.toExponential(1)
}

/** A name as code where it can be, else with Markdown's and HTML's marks escaped. */
export const cardName = (name: string) => (/^[\w./:[\]-]+$/.test(name) ? `\`${name}\`` : escaped(name))

export const escaped = (text: string) => printable(text).replace(MARKS, '\\$&')

/** Marks that Markdown or HTML would take; an underscore between letters and a lone bracket are none. */
const MARKS = /[\\`*[\]<>|~&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|^#/g

export const heading = (title: string, body: string) => `## ${title}\n\n${body}`

export function limited(lines: readonly string[]): readonly string[] {
  return lines.length <= LISTED
    ? lines
    : [...lines.slice(0, LISTED), '', `… and ${lines.length - LISTED} more.`]
}

/** By what the files were made: the command as a block of code that holds whatever it holds. */
export function madeBy({ version, command }: { readonly version: string; readonly command: string }): string {
  const shown = printable(command)
  const longest = Math.max(2, ...(shown.match(/`+/g) ?? []).map((run) => run.length))
  const fence = '`'.repeat(longest + 1)
  return [`By lora-svd ${escaped(version)}:`, '', `${fence}sh`, shown, fence].join('\n')
}
