import { figure } from '../../../report/cells.ts'
import { sparklineDecades } from '../../../report/spectrum.ts'
import { columnWidths, fittingColumns, GOOD_NAME_WIDTH, grid, gridWidth } from '../../../report/table.ts'
import type { Terminal } from '../../../terminal/terminal.ts'
import { namePattern, shownName, withoutPattern } from '../../../text/names.ts'
import { bytes, grouped, short } from '../../../text/numbers.ts'
import { counted, printable } from '../../../text/quote.ts'
import { widthOf, wrap } from '../../../text/width.ts'
import { plotText } from '../plot.ts'
import type { InspectResult, MatrixReport } from '../result.ts'
import { countedSubjects, modelVerdict } from '../verdict.ts'
import { type CellStyle, COLUMNS, type Column, intruderText } from './columns.ts'
import { costsTable, loadersTable, recommendation } from './costs.ts'
import { matrixFacts, notesOf } from './facts.ts'

/** Blocks of a sparkline where there is little room, and where there is much. */
const LEAST_SPARK_WIDTH = 10
const MOST_SPARK_WIDTH = 24

/** A row for each matrix, in the columns that there is room for, and what a reader should know of it. */
function matricesTable(
  matrices: readonly MatrixReport[],
  { paint, columns: width }: Pick<Terminal, 'paint' | 'columns'>,
): string {
  const pattern = namePattern(matrices.map(({ name }) => name))
  const longest = matrices.reduce(
    (most, { name }) => Math.max(most, widthOf(printable(withoutPattern(name, pattern)))),
    4,
  )
  const narrow: CellStyle = {
    paint,
    pattern,
    nameWidth: Math.min(longest, GOOD_NAME_WIDTH),
    sparkWidth: LEAST_SPARK_WIDTH,
    decades: sparklineDecades(matrices.map(({ spectrum }) => spectrum.singularValues)),
  }
  const telling = COLUMNS.filter(({ has }) => matrices.some(has))
  const widths = widthsOf(telling, matrices, narrow)
  const shown = fittingColumns(telling, widths, width)
  const total = (columns: readonly Column[]) => gridWidth(columns.map((column) => widths.get(column)!))
  const style = withRoom(narrow, longest, width - total(shown), shown.some(isSpectrum))
  const rows = matrices.map((matrix) => shown.map(({ cell }) => cell(matrix, style)))
  const text = grid(
    shown.map(({ title }) => title),
    rows,
    shown.map(({ align }) => align),
    paint,
  )
  const hidden = telling.filter((column) => !shown.includes(column))
  const wholeWidth = total(telling) + longest - narrow.nameWidth
  const notes = notesOn(matrices, shown, style, hidden, wholeWidth)
  return [text, ...notes.map((note) => paint.dim(wrap(note, width)))].join('\n')
}

const isSpectrum = ({ title }: Column) => title === 'spectrum'

function widthsOf(columns: readonly Column[], matrices: readonly MatrixReport[], style: CellStyle) {
  const rows = matrices.map((matrix) => columns.map(({ cell }) => cell(matrix, style)))
  const widths = columnWidths(
    columns.map(({ title }) => title),
    rows,
  )
  return new Map(columns.map((column, at) => [column, widths[at]]))
}

/** Gives what room is left, or lacking, to the names, then to the spectra. */
function withRoom(style: CellStyle, longest: number, room: number, hasSpectrum: boolean): CellStyle {
  const nameWidth = Math.min(longest, style.nameWidth + room)
  const left = hasSpectrum ? Math.max(0, room - (nameWidth - style.nameWidth)) : 0
  return { ...style, nameWidth, sparkWidth: Math.min(MOST_SPARK_WIDTH, style.sparkWidth + left) }
}

function notesOn(
  matrices: readonly MatrixReport[],
  shown: readonly Column[],
  { pattern, decades }: CellStyle,
  hidden: readonly Column[],
  wholeWidth: number,
): string[] {
  const { prefix, suffix } = pattern
  const energies = shown.map(({ title }) => title).filter((title) => title.endsWith(' %'))
  const has = (title: string) => shown.some((column) => column.title === title)
  const isOpen = matrices.some(({ base }) => base?.intruders !== undefined && base.intruders.undecided > 0)
  const legend = [
    ...(prefix === '' ? [] : [`names: ${printable(prefix)}<name>${printable(suffix)}`]),
    ...(energies.length === 0 ? [] : [`${energies.join(', ')}: the rank that keeps this share of ‖·‖_F²`]),
    ...(shown.some(({ title }) => title.endsWith('felt'))
      ? ["felt: the same of Δ·C^½, C the second moments of the layer's inputs"]
      : []),
    ...(shown.some(({ title }) => title === '> noise')
      ? ['> noise: the rank above the rounding of the stored dtypes']
      : []),
    ...(has('dominance') ? ['dominance: σ₁(Δ) / σ₁(W)'] : []),
    ...(has('intruders')
      ? [
          `intruders: leading directions of W + Δ that no singular vector of W comes near (cosine below 0.5)${isOpen ? '; 2–4: two surely, two undecided (--full tells)' : ''}`,
        ]
      : []),
    ...(shown.some(isSpectrum) ? [`spectrum: log scale, ${counted(decades, 'decade')}`] : []),
  ]
  if (matrices.some(({ spectrum }) => !spectrum.complete)) {
    const leading = Math.max(
      ...matrices.map(({ spectrum }) => (spectrum.complete ? 0 : spectrum.singularValues.length)),
    )
    legend.push(`…: the leading ${leading} at most were computed, all with --full`)
  }
  if (hidden.length === 0) return [legend.join(' · ')]
  const names = hidden.map(({ title }) => title).join(', ')
  return [
    legend.join(' · '),
    `not shown: ${names} (a terminal of ${wholeWidth} columns shows all, --json too)`,
  ]
}

type Screen = Pick<Terminal, 'paint' | 'columns'>

/** All that `inspect` prints: its report, the plot of a matrix where one was asked for, and which files it wrote. */
export function inspectReport(result: InspectResult, screen: Screen): string {
  const { plotted, outputs } = result
  const paths = Object.values(outputs).map(printable)
  return [
    inspectTables(result, screen),
    plotted === undefined ? '' : `\n${plotOf(plotted, screen)}`,
    paths.length === 0 ? '' : `\n${wrap(`Wrote ${paths.join(', ')}.`, screen.columns)}\n`,
  ].join('')
}

function plotOf(plotted: NonNullable<InspectResult['plotted']>, screen: Screen): string {
  if ('matrix' in plotted) return plotText(plotted.matrix, screen)
  const why = { equal: 'is equal in both', 'not-finite': 'has entries that are NaN or infinite' }[
    plotted.nothing
  ]
  return `${wrap(`No plot: ${shownName(plotted.name)} ${why}.`, screen.columns)}\n`
}

/** The report of `inspect`: each matrix, what a rank costs over all, what it comes to, and what to know besides. */
export function inspectTables(result: InspectResult, screen: Screen): string {
  const { matrices, costs } = result
  const sections = [
    title(result, screen),
    ...(matrices.length === 1 ? [matrixFacts(matrices[0], screen)] : []),
    ...(matrices.length > 1 ? [matricesTable(matrices, screen)] : []),
    loadersTable(result, screen),
    ...(costs.length > 0 && result.totals.frobenius > 0 ? [costsTable(result, screen)] : []),
    [screen.paint.bold(wrap(modelVerdict(result), screen.columns)), recommendation(result, screen)]
      .filter((line) => line !== undefined)
      .join('\n'),
    notesOf(result, screen).join('\n'),
  ].filter((section) => section !== undefined && section !== '')
  return `${sections.join('\n\n')}\n`
}

function title(
  { source, subject, totals, engine, seconds }: InspectResult,
  { paint, columns }: Screen,
): string {
  const path = printable(source.path)
  const what = {
    weights: `the weights of ${path}`,
    delta: source.base === undefined ? `the change to ${path}` : `${path} − ${printable(source.base)}`,
    adapter: `the adapter ${path}`,
  }[subject]
  const change =
    totals.relativeChange === undefined ? [] : [`relative change ${figure(totals.relativeChange)}`]
  const { intruders } = totals
  const facts = [
    countedSubjects(totals.matrices, subject),
    `${grouped(totals.elements)} elements`,
    bytes(totals.bytes),
    `‖·‖_F ${short(totals.frobenius)}`,
    ...change,
    ...(intruders === undefined ? [] : [`intruders ${intruderText(intruders)} leading directions`]),
    `${short(seconds, 2)} s on ${engine}`,
  ]
  return `${paint.bold(wrap(`lora-svd inspect: ${what}`, columns))}\n${paint.dim(wrap(facts.join(' · '), columns))}`
}
