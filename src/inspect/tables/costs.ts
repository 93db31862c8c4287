import { figure, intervalCell } from '../../report/cells.ts'
import { type Align, columnWidths, GAP, grid, gridWidth } from '../../report/grid.ts'
import { bytes, grouped } from '../../report/numbers.ts'
import { wrap } from '../../report/table.ts'
import { ROUNDING_ERROR } from '../../spectrum/low-rank.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import type { InspectResult, RankCost } from '../result.ts'

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
