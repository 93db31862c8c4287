import type { Terminal } from '../terminal/terminal.ts'
import { addTo } from '../text/compare.ts'
import { namePattern } from '../text/names.ts'
import { grouped } from '../text/numbers.ts'
import { type NamedColumn, namedGrid } from './table.ts'

interface Layer {
  readonly name: string
  readonly relativeError: number
}

/**
 * A row for each layer; where there are many, a row for each kind of them and then the layers with the largest errors and
 * those with the smallest.
 */
export function layerList<Row extends Layer>(
  layers: readonly Row[],
  columns: readonly NamedColumn<Row>[],
  kindColumns: readonly NamedColumn<Projection<Row>>[],
  screen: Pick<Terminal, 'paint' | 'columns'>,
): string[] {
  const { worst, best } = excerpt(layers)
  if (best === undefined) return [namedGrid(worst, columns, screen)]
  const pattern = namePattern(layers.map(({ name }) => name))
  const titled = (title: string, text: string) => `${screen.paint.bold(title)}\n${text}`
  return [
    kindGrid(layers, kindColumns, screen),
    titled(`The ${worst.length} largest errors`, namedGrid(worst, columns, screen, { pattern })),
    titled(
      `The ${best.length} smallest (--json has all)`,
      namedGrid(best, columns, screen, { pattern, bare: true }),
    ),
  ]
}

/** A row for each kind of layers. */
export function kindGrid<Row extends { readonly name: string }>(
  layers: readonly Row[],
  columns: readonly NamedColumn<Projection<Row>>[],
  screen: Pick<Terminal, 'paint' | 'columns'>,
): string {
  const kinds = byProjection(layers)
  // one of each kind, so that what all layers of a kind share is not taken for what all kinds do; a kind alone has no others
  const told = kinds.length === 1 ? layers : kinds.map(({ rows: [first] }) => first)
  const { prefix, suffix } = namePattern(told.map(({ name }) => name))
  const layer = `${prefix}*.`
  const isNumbered = prefix !== '' && kinds.some(({ name }) => name.startsWith(layer))
  const pattern = { prefix: isNumbered ? layer : prefix, suffix }
  return namedGrid(kinds, columns, screen, { pattern, title: 'layers' })
}

/** Lists up to this long are shown in full. */
const LONG_LIST = 40
/** Of a longer list, the rows with the largest errors, and those with the smallest. */
const WORST_SHOWN = 10
const BEST_SHOWN = 3

/** What of a list of layers is shown row by row. */
export interface Excerpt<Row> {
  readonly worst: readonly Row[]
  /** The smallest errors; undefined where `worst` is all of the list, in its own order. */
  readonly best?: readonly Row[]
}

/** All rows of a list, or of a long one those with the largest and the smallest errors. */
function excerpt<Row extends { readonly relativeError: number }>(rows: readonly Row[]): Excerpt<Row> {
  if (rows.length <= LONG_LIST) return { worst: rows }
  const falling = byError(rows)
  return { worst: falling.slice(0, WORST_SHOWN), best: falling.slice(-BEST_SHOWN) }
}

/** The largest errors first, infinite ones too; equal ones as they came. */
export const byError = <Row extends { readonly relativeError: number }>(rows: readonly Row[]): Row[] =>
  [...rows].sort((a, b) =>
    a.relativeError < b.relativeError ? 1 : a.relativeError > b.relativeError ? -1 : 0,
  )

export const isLong = (rows: readonly unknown[]) => rows.length > LONG_LIST

/** How many layers there are of each kind. */
export const countColumn: NamedColumn<Projection<unknown>> = {
  title: 'count',
  align: 'right',
  worth: 9,
  cell: ({ rows }) => grouped(rows.length),
}

/** The least and the largest rank of each kind. */
export const rankSpanColumn: NamedColumn<Projection<{ readonly rank: number }>> = {
  title: 'rank',
  align: 'right',
  worth: 13,
  cell: ({ rows }, paint) =>
    paint.cyan(
      spanText(
        rows.map(({ rank }) => rank),
        grouped,
      ),
    ),
}

/** Layers of one kind: their names but for the numbers. */
export interface Projection<Row> {
  /** With * for each number. */
  readonly name: string
  readonly rows: readonly Row[]
}

/** Layers by their names without the numbers, in the order in which they come: all q_proj, all k_proj, … */
function byProjection<Row extends { readonly name: string }>(rows: readonly Row[]): Projection<Row>[] {
  const groups = new Map<string, Row[]>()
  for (const row of rows) {
    const name = row.name.replace(/(?<=^|[.[])\d+(?=$|[.\]])/g, '*')
    addTo(groups, name, row)
  }
  return [...groups].map(([name, rows]) => ({ name, rows }))
}

/** 16, or the least and the largest: 4–32. */
export function spanText(values: readonly number[], text: (value: number) => string): string {
  const least = values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY)
  const most = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  return text(least) === text(most) ? text(most) : `${text(least)}–${text(most)}`
}
