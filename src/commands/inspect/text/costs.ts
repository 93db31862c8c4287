import { ROUNDING_ERROR } from '../../../linalg/spectrum/measures.ts'
import { figure, intervalCell, setting } from '../../../report/cells.ts'
import { type Align, columnWidths, GAP, grid, gridWidth } from '../../../report/table.ts'
import type { Terminal } from '../../../terminal/terminal.ts'
import { bytes, grouped } from '../../../text/numbers.ts'
import { printable } from '../../../text/quote.ts'
import { wrap } from '../../../text/width.ts'
import type { InspectResult, LoaderScale, MatrixReport, RankCost } from '../result.ts'

const BAR_TITLE = 'share of ‖·‖_F² kept'
const MOST_BAR_WIDTH = 40
/** A narrower bar says nothing. */
const LEAST_BAR_WIDTH = 6

interface CostColumn {
  readonly title: string
  readonly align: Align
  cell(cost: RankCost, result: InspectResult): string
}

/** The most telling first; the last ones are left out where there is no room. */
const COST_COLUMNS: readonly CostColumn[] = [
  {
    title: 'rank',
    align: 'right',
    cell: ({ rank }, { recommended }) => `${rank === recommended?.rank ? '▸ ' : ''}${grouped(rank)}`,
  },
  { title: 'error', align: 'right', cell: ({ relativeError }) => intervalCell(relativeError) },
  {
    title: 'of dense',
    align: 'right',
    cell: ({ parameters }, { totals }) => `${figure((100 * parameters) / (totals.elements || 1))} %`,
  },
  { title: 'bytes', align: 'right', cell: (cost) => bytes(cost.bytes) },
  { title: 'parameters', align: 'right', cell: ({ parameters }) => grouped(parameters) },
]

/** What one rank for all matrices takes and leaves, with a bar of the share of ‖·‖_F² it keeps. */
export function costsTable(
  result: InspectResult,
  { paint, columns: width }: Pick<Terminal, 'paint' | 'columns'>,
): string {
  const { totals, recommended } = result
  const costs = untilExact(result.costs)
  const cells = (columns: readonly CostColumn[]) =>
    costs.map((cost) => columns.map(({ cell }) => cell(cost, result)))
  const widthOf = (columns: readonly CostColumn[]) =>
    gridWidth(
      columnWidths(
        columns.map(({ title }) => title),
        cells(columns),
      ),
    )
  let shown = COST_COLUMNS
  while (widthOf(shown) > width) shown = shown.slice(0, -1)
  const room = Math.min(MOST_BAR_WIDTH, width - widthOf(shown) - GAP)
  const hasBar = room >= LEAST_BAR_WIDTH
  const rows = cells(shown).map((row, at) => {
    const { rank, parameters, relativeError } = costs[at]
    const colour =
      rank === recommended?.rank ? paint.green : parameters < totals.elements ? String : paint.dim
    const bar = keptBar(1 - relativeError.atMost ** 2, Math.max(0, room), paint)
    return [...row.map((cell) => colour(cell)), ...(hasBar ? [bar] : [])]
  })
  const head = [
    ...shown.map(({ title }) => title),
    ...(hasBar ? [room >= BAR_TITLE.length ? BAR_TITLE : 'kept'] : []),
  ]
  return grid(head, rows, [...shown.map(({ align }) => align), 'left'], paint)
}

/** The costs up to the first rank that leaves nothing: after it only the size grows. */
function untilExact(costs: readonly RankCost[]): readonly RankCost[] {
  const exact = costs.findIndex(({ relativeError }) => relativeError.atMost <= ROUNDING_ERROR)
  return exact < 0 ? costs : costs.slice(0, exact + 1)
}

function keptBar(share: number, width: number, paint: Terminal['paint']): string {
  const full = Math.round(Math.max(0, share) * width)
  return paint.green('█'.repeat(full)) + paint.dim('░'.repeat(width - full))
}

/** The rank to take, and why. */
export function recommendation(
  { recommended }: InspectResult,
  { paint, columns }: Pick<Terminal, 'paint' | 'columns'>,
): string | undefined {
  if (recommended === undefined) return undefined
  const { rank, reason } = recommended
  if (rank === undefined) return paint.yellow(wrap(reason, columns))
  return paint.green(wrap(`Recommended: rank ${grouped(rank)}. ${reason}`, columns))
}

/** Different scales of one loader that are listed. */
const LISTED_SCALES = 4

/** Whether a loader does anything else than the adapter's format says. */
function differs({ adapter }: MatrixReport): boolean {
  return (
    adapter?.scales.some(({ scale, refusal }) => refusal !== undefined || scale !== adapter.scale) === true
  )
}

/** The scales that each loader applies, where they aren't all those of the adapter's own format. */
export function loadersTable(
  { matrices }: InspectResult,
  { paint, columns }: Pick<Terminal, 'paint' | 'columns'>,
): string | undefined {
  if (!matrices.some(differs)) return undefined
  const loaders = new Map<LoaderScale['loader'], Map<string, number>>()
  for (const { adapter } of matrices) {
    for (const loader of adapter?.scales ?? []) {
      const text = textOf(loader, adapter!.scale)
      const counts = loaders.get(loader.loader) ?? new Map<string, number>()
      loaders.set(loader.loader, counts.set(text, (counts.get(text) ?? 0) + 1))
    }
  }
  const rows = [...loaders].flatMap(([loader, counts]) => scaleRows(loader, counts))
  const heads = ['loader', 'modules', 'scale']
  const room = columns - gridWidth(columnWidths(heads, rows).with(-1, 0))
  const lines = rows.flatMap(([loader, count, text]) =>
    wrap(text, room)
      .split('\n')
      .map((line, at) =>
        at === 0 ? [loader, count, colourOf(text, paint)(line)] : ['', '', colourOf(text, paint)(line)],
      ),
  )
  return grid(heads, lines, ['left', 'right', 'left'], paint)
}

/** The scales of one loader, the most frequent first. */
function scaleRows(loader: string, counts: ReadonlyMap<string, number>): string[][] {
  const byCount = [...counts].sort((a, b) => b[1] - a[1])
  const others = byCount.slice(LISTED_SCALES).reduce((sum, [, count]) => sum + count, 0)
  return [
    ...byCount
      .slice(0, LISTED_SCALES)
      .map(([text, count], at) => [at === 0 ? loader : '', grouped(count), text]),
    ...(others > 0 ? [['', grouped(others), 'other scales']] : []),
  ]
}

const REFUSED = 'not loaded: '
const INSTEAD = ' instead of '

function textOf({ scale, refusal }: LoaderScale, own: number): string {
  if (refusal !== undefined) return `${REFUSED}${printable(refusal)}`
  return scale === own ? setting(scale) : `${setting(scale)}${INSTEAD}${setting(own)}`
}

function colourOf(text: string, paint: Terminal['paint']): (text: string) => string {
  return text.startsWith(REFUSED) ? paint.red : text.includes(INSTEAD) ? paint.yellow : String
}
