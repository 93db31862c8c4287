import { UNKNOWN } from '../../report/cells.ts'
import { countColumn, isLong, kindGrid, type Projection, spanText } from '../../report/layer-list.ts'
import { type NamedColumn, namedGrid } from '../../report/table.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { namePattern } from '../../text/names.ts'
import { grouped, percent, shape } from '../../text/numbers.ts'
import type { PairLayer } from './result.ts'

type Screen = Pick<Terminal, 'paint' | 'columns'>

/** Of a long list, the layers with the largest cosines that are shown, and those with the smallest. */
const NEAREST_SHOWN = 10
const FARTHEST_SHOWN = 3

/** Three decimals: a cosine, or a mean of squared ones. */
export const cosineText = (x: number) =>
  Number.isNaN(x) ? UNKNOWN : x.toFixed(3).replace(/^-(0\.0+)$/, '$1')

export const shareText = (x: number) => (Number.isNaN(x) ? UNKNOWN : percent(x))

/** How near each other the subspaces of two changes are. */
export const overlapColumns: readonly NamedColumn<Pick<PairLayer, 'overlap'>>[] = [
  {
    title: 'columns',
    align: 'right',
    worth: 14,
    legend: 'mean cos² of the principal angles between the column spaces',
    cell: ({ overlap }) => cosineText(overlap.columns),
  },
  {
    title: 'rows',
    align: 'right',
    worth: 14,
    legend: 'the same of the row spaces',
    cell: ({ overlap }) => cosineText(overlap.rows),
  },
]

const degrees = (angle: number) => `${angle.toFixed(1)}°`

/** The layers that two adapters both change; where there are many, each kind of them, the nearest and the farthest. */
export function pairLayers(layers: readonly PairLayer[], screen: Screen): string[] {
  if (layers.length === 0) return []
  if (!isLong(layers)) return [namedGrid(layers, COLUMNS, screen)]
  const size = ({ cosine }: PairLayer) => (Number.isNaN(cosine) ? -1 : Math.abs(cosine))
  const falling = [...layers].sort((a, b) => size(b) - size(a))
  const pattern = namePattern(layers.map(({ name }) => name))
  const titled = (title: string, text: string) => `${screen.paint.bold(title)}\n${text}`
  return [
    kindGrid(layers, KIND_COLUMNS, screen),
    titled(
      `The ${NEAREST_SHOWN} nearest`,
      namedGrid(falling.slice(0, NEAREST_SHOWN), COLUMNS, screen, { pattern }),
    ),
    titled(
      `The ${FARTHEST_SHOWN} farthest (--json has all)`,
      namedGrid(falling.slice(-FARTHEST_SHOWN), COLUMNS, screen, { pattern, bare: true }),
    ),
  ]
}

const anglesText = (angles: readonly number[] | undefined) =>
  angles === undefined || angles.length === 0 ? UNKNOWN : spanText(angles, degrees)

const COLUMNS: readonly NamedColumn<PairLayer>[] = [
  { title: 'shape', align: 'right', worth: 6, cell: ({ shape: [rows, columns] }) => shape(rows, columns) },
  {
    title: 'ranks',
    align: 'right',
    worth: 9,
    cell: ({ ranks: [first, second] }) => `${grouped(first)} · ${grouped(second)}`,
  },
  {
    title: 'cosine',
    align: 'right',
    worth: Number.POSITIVE_INFINITY,
    legend: '⟨Δ₁, Δ₂⟩ / (‖Δ₁‖‖Δ₂‖)',
    cell: ({ cosine }, paint) => paint.cyan(cosineText(cosine)),
  },
  ...overlapColumns,
  {
    title: '1 in 2',
    align: 'right',
    worth: 12,
    legend: 'share of ‖Δ₁‖² within the column and row space of Δ₂',
    cell: ({ kept: [first] }) => shareText(first),
  },
  { title: '2 in 1', align: 'right', worth: 12, cell: ({ kept: [, second] }) => shareText(second) },
  {
    title: 'U',
    align: 'right',
    worth: 8,
    legend: 'the least and the largest angle between the column spaces; V of the row spaces',
    cell: ({ angles }) => anglesText(angles?.columns),
  },
  { title: 'V', align: 'right', worth: 7, cell: ({ angles }) => anglesText(angles?.rows) },
]

/** The least and the largest of what there is. */
function span(values: readonly number[], text: (value: number) => string): string {
  const known = values.filter((value) => !Number.isNaN(value))
  return known.length === 0 ? UNKNOWN : spanText(known, text)
}

const spanColumn = (
  title: string,
  worth: number,
  of: (layer: PairLayer) => number,
  text: (value: number) => string,
): NamedColumn<Projection<PairLayer>> => ({
  title,
  align: 'right',
  worth,
  cell: ({ rows }) => span(rows.map(of), text),
})

const KIND_COLUMNS: readonly NamedColumn<Projection<PairLayer>>[] = [
  countColumn,
  spanColumn('cosine', Number.POSITIVE_INFINITY, ({ cosine }) => cosine, cosineText),
  spanColumn('columns', 14, ({ overlap }) => overlap.columns, cosineText),
  spanColumn('rows', 14, ({ overlap }) => overlap.rows, cosineText),
  spanColumn('1 in 2', 10, ({ kept: [first] }) => first, shareText),
  spanColumn('2 in 1', 10, ({ kept: [, second] }) => second, shareText),
]
