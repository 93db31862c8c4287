import { stripVTControlCharacters } from 'node:util'
import type { Terminal } from '../terminal/terminal.ts'
import { fittedName, type NamePattern, namePattern, withoutPattern } from '../text/names.ts'
import { printable } from '../text/quote.ts'
import { wrap } from './table.ts'

/** A name is shortened to this before a column is left out for it, and on the narrowest terminals to the second. */
export const GOOD_NAME_WIDTH = 24
const LEAST_NAME_WIDTH = 12
/** From this worth on a column stays and the name is shortened instead. */
const KEPT_BEFORE_NAMES = 12

/** The columns, that of names first, less those of the least worth until they fit. Those of infinite worth stay. */
export function fittingColumns<Column extends { readonly worth: number }>(
  columns: readonly Column[],
  widths: ReadonlyMap<Column, number>,
  room: number,
): readonly Column[] {
  const shrinkable = Math.max(0, widths.get(columns[0])! - LEAST_NAME_WIDTH)
  let shown = columns
  const isTooWide = (spare: number) => gridWidth(shown.map((column) => widths.get(column)!)) - spare > room
  while (isTooWide(0)) {
    const least = shown.reduce((a, b) => (b.worth < a.worth ? b : a))
    // The last columns that speak of rank are worth a shorter name.
    if (least.worth >= KEPT_BEFORE_NAMES && !isTooWide(shrinkable)) break
    if (least.worth === Number.POSITIVE_INFINITY) break
    shown = shown.filter((column) => column !== least)
  }
  return shown
}

/** Between two columns. */
export const GAP = 2

export type Align = 'left' | 'right'

const visibleLength = (text: string) => stripVTControlCharacters(text).length

/**
 * Rows in columns with no lines but one under the head, for lists too long to be framed. Cells are as they are painted; a
 * head that is wider than its column makes it wider.
 */
export function grid(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  aligns: readonly Align[],
  paint: Terminal['paint'],
): string {
  const widths = columnWidths(head, rows)
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, at) => aligned(cell, widths[at], aligns[at]))
      .join(' '.repeat(GAP))
      .trimEnd()
  const rule = '─'.repeat(gridWidth(widths))
  return [line(head.map((title) => paint.bold(title))), paint.dim(rule), ...rows.map(line)].join('\n')
}

export function columnWidths(head: readonly string[], rows: readonly (readonly string[])[]): number[] {
  return head.map((title, at) =>
    rows.reduce((width, row) => Math.max(width, visibleLength(row[at])), visibleLength(title)),
  )
}

export const gridWidth = (widths: readonly number[]) =>
  widths.reduce((sum, width) => sum + width + GAP, widths.length > 0 ? -GAP : 0)

function aligned(cell: string, width: number, align: Align): string {
  const padding = ' '.repeat(Math.max(0, width - visibleLength(cell)))
  return align === 'right' ? padding + cell : cell + padding
}

/** A column beside the names. */
export interface NamedColumn<Row> {
  readonly title: string
  readonly align: Align
  /** Where there is no room the lowest goes first; those of infinity stay. */
  readonly worth: number
  /** Whether a row has anything to say in it; left out: each has. */
  has?(row: Row): boolean
  cell(row: Row, paint: Terminal['paint']): string
  /** What the title means, for the line below the grid. */
  readonly legend?: string
}

export interface NamedGridOptions {
  /** What the names have in common, where it isn't to be found in these rows alone. */
  readonly pattern?: NamePattern
  /** The title of the names. */
  readonly title?: string
  /** Without the lines that explain it. */
  readonly bare?: boolean
}

/** A row for each named thing, in the columns that there is room for, and below it what a reader should know of them. */
export function namedGrid<Row extends { readonly name: string }>(
  rows: readonly Row[],
  columns: readonly NamedColumn<Row>[],
  { paint, columns: width }: Pick<Terminal, 'paint' | 'columns'>,
  {
    pattern = namePattern(rows.map(({ name }) => name)),
    title = 'name',
    bare = false,
  }: NamedGridOptions = {},
): string {
  const names = rows.map(({ name }) => printable(withoutPattern(name, pattern)))
  const longest = names.reduce((most, name) => Math.max(most, name.length), title.length)
  const nameColumn = { title, align: 'left', worth: Number.POSITIVE_INFINITY, legend: undefined } as const
  const telling = columns.filter(({ has }) => has === undefined || rows.some((row) => has(row)))
  const cells = rows.map((row) => telling.map(({ cell }) => cell(row, paint)))
  const found = columnWidths(
    telling.map((column) => column.title),
    cells,
  )
  const all = [nameColumn, ...telling]
  const goodName = Math.min(longest, GOOD_NAME_WIDTH)
  const widths = new Map(all.map((column, at) => [column, at === 0 ? goodName : found[at - 1]] as const))
  const total = (some: readonly (typeof all)[number][]) =>
    gridWidth(some.map((column) => widths.get(column)!))
  const shown = fittingColumns(all, widths, width)
  const nameWidth = Math.min(longest, goodName + width - total(shown))
  const isShown = telling.map((column) => shown.includes(column))
  const text = grid(
    shown.map((column) => column.title),
    names.map((name, at) => [fittedName(name, nameWidth), ...cells[at].filter((_, i) => isShown[i])]),
    shown.map(({ align }) => align),
    paint,
  )
  if (bare) return text
  const { prefix, suffix } = pattern
  const legend = [
    ...(prefix === '' ? [] : [`names: ${printable(prefix)}<name>${printable(suffix)}`]),
    ...shown.flatMap(({ title, legend }) => (legend === undefined ? [] : [`${title}: ${legend}`])),
  ]
  const hidden = all.filter((column) => !shown.includes(column)).map((column) => column.title)
  const notes = [
    ...(legend.length === 0 ? [] : [legend.join(' · ')]),
    ...(hidden.length === 0
      ? []
      : [
          `not shown: ${hidden.join(', ')} (a terminal of ${total(all) + longest - goodName} columns shows all, --json too)`,
        ]),
  ]
  return [text, ...notes.map((note) => paint.dim(wrap(note, width)))].join('\n')
}
