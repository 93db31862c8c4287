import Table from 'cli-table3'
import type { Terminal } from '../terminal/terminal.ts'
import { fittedName, type NamePattern, namePattern, withoutPattern } from '../text/names.ts'
import { printable } from '../text/quote.ts'
import { widthOf, wrap } from '../text/width.ts'

/** Tables on a terminal: framed ones for a few rows, grids without lines for lists. Cells are as they are painted. */

const NO_LINES_BETWEEN_ROWS = { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' }
const HEAD_RULE: Record<string, string> = { '┌': '├', '┬': '┼', '┐': '┤' }

/** What the frame takes beside each cell, and once more at the end. */
const CELL_FRAME = 3
/** However narrow the terminal, a cell is not wrapped to less. */
const MIN_CELL_WIDTH = 8

type Rows = readonly (readonly string[])[]

/** The width of each column. */
export const columnWidths = (head: readonly string[], rows: Rows): number[] =>
  head.map((title, at) => rows.reduce((width, row) => Math.max(width, widthOf(row[at])), widthOf(title)))

/** The width that `table` takes for these rows where nothing is wrapped. */
export const tableWidth = (rows: Rows): number =>
  columnWidths(rows[0], rows).reduce((sum, width) => sum + width + CELL_FRAME, 1)

/** A framed table, a rule under the head if there is one; where it is wider than `columns`, the last cell of each row is wrapped. */
export function table(
  unwrapped: string[][],
  columns: number,
  head?: string[],
  rightAligned: number[] = [],
): string {
  const last = unwrapped[0].length - 1
  const besides = tableWidth(unwrapped.map((row) => row.with(last, '')))
  const room = Math.max(MIN_CELL_WIDTH, columns - besides)
  // cli-table3 takes the third power of a cell's lines, so each of them is a row
  const rows = unwrapped.flatMap((row) =>
    wrap(row[last], room)
      .split('\n')
      .map((line, at) => (at === 0 ? row : row.map(() => '')).with(last, line)),
  )
  const aligns = rows[0].map((_, column): Align => (rightAligned.includes(column) ? 'right' : 'left'))
  const lines = framed(head === undefined ? rows : [head, ...rows], aligns)
  if (head !== undefined) {
    const rule = Array.from(lines[0], (sign) => HEAD_RULE[sign] ?? sign)
    lines.splice(2, 0, rule.join(''))
  }
  return lines.join('\n')
}

/** What stands for a column of a cell while the frame is drawn: no sign of a frame. */
const STAND_IN = 'x'

/**
 * The rows in cli-table3's frame. It draws cells of as many letters as theirs take columns, because it measures texts by the
 * tables of an older Unicode; its own colours are off, because it emits them into pipes too.
 */
function framed(rows: Rows, aligns: Align[]): string[] {
  const frame = new Table({
    style: { head: [], border: [] },
    chars: NO_LINES_BETWEEN_ROWS,
    colAligns: aligns,
  })
  frame.push(...rows.map((row) => row.map((cell) => STAND_IN.repeat(widthOf(cell)))))
  const cells = rows.flat().filter((cell) => widthOf(cell) > 0)
  let next = 0
  return frame
    .toString()
    .replace(/x+/g, () => cells[next++])
    .split('\n')
}

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

/** Rows in columns with no lines but one under the head. A head that is wider than its column makes it wider. */
export function grid(
  head: readonly string[],
  rows: Rows,
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

/** The width of a grid whose columns are so wide. */
export const gridWidth = (widths: readonly number[]) =>
  widths.reduce((sum, width) => sum + width + GAP, widths.length > 0 ? -GAP : 0)

function aligned(cell: string, width: number, align: Align): string {
  const padding = ' '.repeat(Math.max(0, width - widthOf(cell)))
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
  const longest = names.reduce((most, name) => Math.max(most, widthOf(name)), widthOf(title))
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
