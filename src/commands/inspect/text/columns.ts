import { orderOf } from '../../../linalg/spectrum/measures.ts'
import {
  figure,
  intervalCell,
  rangeCell,
  rangeText,
  realRank,
  realRankRange,
  setting,
  UNKNOWN,
} from '../../../report/cells.ts'
import { sparkline } from '../../../report/spectrum.ts'
import type { Align } from '../../../report/table.ts'
import type { Terminal } from '../../../terminal/terminal.ts'
import { fittedName, type NamePattern, withoutPattern } from '../../../text/names.ts'
import { grouped, shape } from '../../../text/numbers.ts'
import { printable } from '../../../text/quote.ts'
import type { EnergyShare, IntruderFindings, MatrixReport } from '../result.ts'
import { VERDICT_NAMES, verdictPaint } from '../verdict.ts'

/** How the cells of one table are drawn. */
export interface CellStyle {
  readonly paint: Terminal['paint']
  readonly pattern: NamePattern
  readonly nameWidth: number
  readonly sparkWidth: number
  readonly decades: number
}

export interface Column {
  readonly title: string
  readonly align: Align
  /** Where there is no room the lowest goes first; those of infinity stay. */
  readonly worth: number
  /** Whether these matrices have anything to say in it. */
  has(matrix: MatrixReport): boolean
  cell(matrix: MatrixReport, style: CellStyle): string
}

/** 3 of 10, or 3–5 of 10 where some are undecided. */
export const intruderText = ({ directions, intruders, undecided }: IntruderCounts): string =>
  `${rangeText({ atLeast: intruders, atMost: intruders + undecided }, Number.POSITIVE_INFINITY)} of ${grouped(directions)}`

export type IntruderCounts = Pick<IntruderFindings, 'directions' | 'intruders' | 'undecided'>

const always = () => true
const isDelta = ({ base }: MatrixReport) => base !== undefined
const isAdapter = ({ adapter }: MatrixReport) => adapter !== undefined

const energyColumn = (share: EnergyShare, worth: number): Column => ({
  title: `${Number(share) * 100} %`,
  align: 'right',
  worth,
  has: always,
  cell: ({ energyRanks, spectrum }) => rangeCell(energyRanks[share], orderOf(spectrum)),
})

/** The same in the norm of the inputs. */
const outputColumn = (share: EnergyShare, worth: number): Column => ({
  title: `${Number(share) * 100} % felt`,
  align: 'right',
  worth,
  has: ({ output }) => output !== undefined,
  cell: ({ output }) =>
    output === undefined ? UNKNOWN : rangeCell(output.energyRanks[share], orderOf(output.spectrum)),
})

/** All columns, in the order in which they are shown. */
export const COLUMNS: readonly Column[] = [
  {
    title: 'name',
    align: 'left',
    worth: Number.POSITIVE_INFINITY,
    has: always,
    cell: ({ name }, { pattern, nameWidth }) =>
      fittedName(printable(withoutPattern(name, pattern)), nameWidth),
  },
  {
    title: 'shape',
    align: 'right',
    worth: 8,
    has: always,
    cell: ({ shape: [rows, columns] }) => shape(rows, columns),
  },
  { title: 'dtype', align: 'left', worth: 3, has: always, cell: ({ dtype }) => printable(dtype) },
  {
    title: '‖·‖_F',
    align: 'right',
    worth: 7,
    has: always,
    cell: ({ spectrum }) => figure(spectrum.frobenius),
  },
  {
    title: '‖·‖₂',
    align: 'right',
    worth: 1,
    has: always,
    cell: ({ spectral }) => intervalCell(spectral),
  },
  {
    title: 'change',
    align: 'right',
    worth: 11,
    has: isDelta,
    cell: ({ base }) => figure(base?.relativeChange),
  },
  {
    title: 'dominance',
    align: 'right',
    worth: 13.5,
    has: ({ base }) => base?.dominance !== undefined,
    cell: ({ base }) => (base?.dominance === undefined ? UNKNOWN : intervalCell(base.dominance)),
  },
  {
    title: 'intruders',
    align: 'right',
    worth: 12.5,
    has: ({ base }) => base?.intruders !== undefined,
    cell: ({ base }, { paint }) => {
      if (base?.intruders === undefined) return UNKNOWN
      const text = intruderText(base.intruders)
      return base.intruders.intruders > 0 ? paint.yellow(text) : text
    },
  },
  {
    title: 'nominal',
    align: 'right',
    worth: 14,
    has: isAdapter,
    cell: ({ adapter }) => setting(adapter?.nominalRank),
  },
  {
    title: 'rank',
    align: 'right',
    worth: 10,
    has: always,
    cell: ({ rank, spectrum }, { paint }) => paint.cyan(rangeCell(rank, orderOf(spectrum))),
  },
  {
    title: 'wasted',
    align: 'right',
    worth: 13,
    has: isAdapter,
    cell: ({ adapter }, { paint }) => {
      const text = setting(adapter?.wasted)
      return adapter?.wasted ? paint.yellow(text) : text
    },
  },
  {
    title: 'alpha',
    align: 'right',
    worth: 4.5,
    has: isAdapter,
    cell: ({ adapter }) => setting(adapter?.alpha),
  },
  {
    title: 'scale',
    align: 'right',
    worth: 9,
    has: isAdapter,
    cell: ({ adapter }) => setting(adapter?.scale),
  },
  {
    title: '> noise',
    align: 'right',
    worth: 9.5,
    has: ({ noise }) => noise !== undefined,
    cell: ({ noise, spectrum }) => (noise === undefined ? '' : rangeCell(noise.rankAbove, orderOf(spectrum))),
  },
  {
    title: 'stable',
    align: 'right',
    worth: 6,
    has: always,
    cell: ({ stableRank }) => realRankRange(stableRank),
  },
  {
    title: 'effective',
    align: 'right',
    worth: 4,
    has: ({ effectiveRank }) => effectiveRank !== undefined,
    cell: ({ effectiveRank }) => realRank(effectiveRank),
  },
  energyColumn('0.5', 2),
  energyColumn('0.9', 12),
  energyColumn('0.95', 5),
  energyColumn('0.99', 15),
  outputColumn('0.9', 12.2),
  outputColumn('0.99', 15.2),
  {
    title: 'spectrum',
    align: 'left',
    worth: 16,
    has: always,
    cell: ({ spectrum, verdict }, { paint, decades, sparkWidth }) => {
      const { singularValues, complete } = spectrum
      return verdictPaint(verdict.kind, paint)(sparkline(singularValues, complete, decades, sparkWidth))
    },
  },
  {
    title: 'verdict',
    align: 'left',
    worth: Number.POSITIVE_INFINITY,
    has: always,
    cell: ({ verdict }, { paint }) => verdictPaint(verdict.kind, paint)(VERDICT_NAMES[verdict.kind]),
  },
]
