import { printable } from '../formats/quote.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { fittingColumns, GOOD_NAME_WIDTH } from './fitting-columns.ts'
import { type Align, columnWidths, grid, gridWidth } from './grid.ts'
import { fittedName, type NamePattern, namePattern, withoutPattern } from './names.ts'
import { wrap } from './table.ts'

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
