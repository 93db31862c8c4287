import { badUsage } from '../../errors.ts'
import { orderOf, roundingLevelOf, valueAt } from '../../linalg/spectrum/measures.ts'
import type { IntegerRange } from '../../linalg/spectrum/spectrum.ts'
import { figure, paintWords, rangeText } from '../../report/cells.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { didYouMean } from '../../text/compare.ts'
import { shownName } from '../../text/names.ts'
import { grouped, percentUp, shape } from '../../text/numbers.ts'
import { printable, quoted } from '../../text/quote.ts'
import { wrap } from '../../text/width.ts'
import {
  type Canvas,
  createCanvas,
  DOTS_ACROSS,
  DOTS_DOWN,
  drawLine,
  glyphAt,
  indexLabels,
  type LogAxis,
  logAxis,
  logTicks,
  setDot,
} from './canvas.ts'
import type { MatrixReport } from './result.ts'
import { verdictPaint } from './verdict.ts'

/** Names listed at most where several are meant: they must fit one line. */
const LISTED = 4

/** The parts of the names that have as many dots as what was asked for, and the names. */
function partsLike(asked: string, names: readonly string[]): Set<string> {
  const count = asked.split('.').length
  const parts = names.flatMap((name) => {
    const all = name.split('.')
    return all.slice(count - 1).map((_, start) => all.slice(start, start + count).join('.'))
  })
  return new Set([...parts, ...names])
}

/** The name that `--plot` means: one in full, or the only one that holds it. Throws `bad-usage` for none and for several. */
export function plottedMatrix(
  asked: string,
  matrices: readonly { readonly name: string }[],
  where: string,
): string {
  const names = matrices.map(({ name }) => name)
  if (names.includes(asked)) return asked
  const holding = names.filter((name) => name.includes(asked))
  if (holding.length === 1) return holding[0]
  if (holding.length === 0) {
    throw badUsage(
      `--plot ${quoted(asked)}: ${where} has no such matrix${didYouMean(asked, partsLike(asked, names))}`,
    )
  }
  const listed = holding.slice(0, LISTED).map(quoted).join(', ')
  const more = holding.length > LISTED ? ` and ${holding.length - LISTED} more` : ''
  throw badUsage(`--plot ${quoted(asked)}: may be ${listed}${more}: write more of the name`)
}

/** Character rows of the drawing: a plot with its head and legend fits 24 lines. */
const HEIGHT = 16
/** The axis of the energy, ` 100 %`. */
const ENERGY_LABELS = ['100 %', '50 %', '0 %']
const RIGHT_WIDTH = 7
/** Characters that stand for what was not computed. */
const UNKNOWN_WIDTH = 8
/** How far below the last singular value the noise floor is still drawn. */
const FLOOR_BELOW = 10
/** Values that may be so much too low, relative to the truth, are worth a word. */
const SHOWN_LOOSENESS = 0.01
const MARKED_SHARES = ['0.9', '0.99'] as const

/** What is drawn and where: dots from the top left. */
interface Plot {
  readonly report: MatrixReport
  readonly axis: LogAxis
  readonly width: number
  readonly S: Float64Array
}

/**
 * A spectrum as a drawing in braille dots: singular values on a logarithmic axis, the share of ‖·‖_F² up to each on the
 * axis at the right, the ranks for 90 and 99 % of it, and the noise floor. At most as wide as the terminal.
 */
export function plotText(
  report: MatrixReport,
  { paint, columns }: Pick<Terminal, 'paint' | 'columns'>,
): string {
  const { spectrum, verdict, name } = report
  const S = spectrum.singularValues
  const head = [
    paint.bold(wrap(`${shownName(name)}  ${shape(...report.shape)}  ${printable(report.dtype)}`, columns)),
    wrap(paintWords(verdict.text, verdictPaint(verdict.kind, paint)), columns),
  ]
  if (!(S[0] > 0)) return `${head.join('\n')}\n`
  const axis = logAxis(valuesShown(report))
  const ticks = logTicks(axis)
  const left = Math.max(...ticks.map(({ label }) => label.length))
  const width = columns - left - 2 - RIGHT_WIDTH - (spectrum.complete ? 0 : UNKNOWN_WIDTH)
  const plot = { report, axis, width, S }
  const labels = new Map(ticks.map(({ value, label }) => [rowOf(plot, value), label]))
  const rows = drawnRows(plot, paint).map((cells, row) => {
    const label = labels.get(row)
    const beyond = spectrum.complete ? '' : paint.dim('░'.repeat(UNKNOWN_WIDTH))
    const right = row === 0 ? 0 : row === Math.floor(HEIGHT / 2) ? 1 : row === HEIGHT - 1 ? 2 : -1
    const tick = label === undefined ? '│' : '┤'
    return `${paint.dim((label ?? '').padStart(left))} ${paint.dim(tick)}${cells}${beyond}${right < 0 ? '' : paint.dim(` ${ENERGY_LABELS[right]}`)}`
  })
  const margin = ' '.repeat(left + 2)
  const foot = `${' '.repeat(left + 1)}${paint.dim(`└${'─'.repeat(width + (spectrum.complete ? 0 : UNKNOWN_WIDTH))}`)}`
  const beyond = spectrum.complete ? '' : `… ${grouped(orderOf(spectrum))}`.padStart(UNKNOWN_WIDTH)
  const indices = margin + paint.dim((indexLabels(S.length, width) + beyond).trimEnd())
  return `${[...head, ...rows, foot, indices, legend(report, paint, columns)].join('\n')}\n`
}

/** The singular values above rounding, and the noise floor where it is drawn. */
function valuesShown(report: MatrixReport): number[] {
  const S = report.spectrum.singularValues
  const above = Array.from(S).filter((s) => s > roundingOf(report))
  const floor = floorOf(report)
  return [...(above.length > 0 ? above : [S[0]]), ...(floor === undefined ? [] : [floor])]
}

/** The largest singular value that counts as zero. */
const roundingOf = ({ spectrum: { singularValues, rows, columns, epsilon } }: MatrixReport) =>
  singularValues[0] * Math.max(rows, columns) * epsilon

/** The noise floor, unless the rounding of the decomposition is larger or the spectrum stays so far above that it'd be squeezed. */
function floorOf(report: MatrixReport): number | undefined {
  const { noise, spectrum } = report
  const S = spectrum.singularValues
  const least = Math.max(roundingOf(report), S[S.length - 1] / FLOOR_BELOW)
  return noise !== undefined && noise.floor >= least ? noise.floor : undefined
}

/** The dot row of a value: 0 at the top. */
function dotOf({ axis: { low, high } }: Plot, value: number): number {
  return Math.round(((high - Math.log10(value)) / (high - low)) * (HEIGHT * DOTS_DOWN - 1))
}

const rowOf = (plot: Plot, value: number) => Math.floor(dotOf(plot, value) / DOTS_DOWN)

/** The dot column of the singular value i. */
function acrossOf({ S, width }: Plot, i: number): number {
  return S.length === 1 ? 0 : Math.round((i / (S.length - 1)) * (width * DOTS_ACROSS - 1))
}

function drawnRows(plot: Plot, paint: Terminal['paint']): string[] {
  const { report, width } = plot
  const [curve, energy] = [singularCurve(plot), energyCurve(plot)]
  const floor = floorOf(report)
  const floorRow = floor === undefined ? -1 : rowOf(plot, floor)
  const markers = new Set(MARKED_SHARES.flatMap((share) => markerColumn(plot, report.energyRanks[share])))
  const cellAt = (row: number, column: number) => {
    const [value, share] = [glyphAt(curve, row, column), glyphAt(energy, row, column)]
    if (value !== '') return paint.cyan(value)
    if (share !== '') return paint.magenta(share)
    if (markers.has(column)) return paint.green('┊')
    return row === floorRow ? paint.yellow('╌') : ' '
  }
  return Array.from({ length: HEIGHT }, (_, row) =>
    Array.from({ length: width }, (_, column) => cellAt(row, column)).join(''),
  )
}

function singularCurve(plot: Plot): Canvas {
  const { S, width } = plot
  const canvas = createCanvas(HEIGHT, width)
  const bottom = HEIGHT * DOTS_DOWN - 1
  const down = (i: number) => (S[i] > 0 ? Math.min(bottom, dotOf(plot, S[i])) : bottom)
  setDot(canvas, 0, down(0))
  for (let i = 1; i < S.length; i++) {
    drawLine(canvas, acrossOf(plot, i - 1), down(i - 1), acrossOf(plot, i), down(i))
  }
  return canvas
}

/** Every other character, so that it is told from the singular values without colour. */
function energyCurve({ S, width, report }: Plot): Canvas {
  const canvas = createCanvas(HEIGHT, width)
  const bottom = HEIGHT * DOTS_DOWN - 1
  const energies = new Float64Array(S.length)
  for (let i = 0; i < S.length; i++)
    energies[i] = (energies[i - 1] ?? 0) + (S[i] / report.spectrum.frobenius) ** 2
  for (let across = 0; across < width * DOTS_ACROSS; across += 2 * DOTS_ACROSS) {
    const at = (across / (width * DOTS_ACROSS - 1)) * (S.length - 1)
    const i = Math.floor(at)
    const energy = energies[i] + (at - i) * ((energies[i + 1] ?? energies[i]) - energies[i])
    setDot(canvas, across, Math.round((1 - Math.min(1, energy)) * bottom))
  }
  return canvas
}

/** The column in which a rank that is known lies. */
function markerColumn(plot: Plot, { atMost }: IntegerRange): number[] {
  return atMost >= 1 && atMost <= plot.S.length ? [Math.floor(acrossOf(plot, atMost - 1) / DOTS_ACROSS)] : []
}

/** How much too low values may be, where it would show. */
function looseness({ spectrum }: MatrixReport): string {
  const rounding = roundingLevelOf(spectrum)
  let most = 0
  spectrum.singularValues.forEach((s, i) => {
    if (s > rounding) most = Math.max(most, 1 - s / valueAt(spectrum, i).atMost)
  })
  return most > SHOWN_LOOSENESS ? `, up to ${percentUp(most)} low` : ''
}

function legend(report: MatrixReport, paint: Terminal['paint'], columns: number): string {
  const { spectrum, energyRanks } = report
  const floor = floorOf(report)
  const order = orderOf(spectrum)
  const ranks = MARKED_SHARES.map(
    (share) => `${Number(share) * 100} % at ${rangeText(energyRanks[share], order)}`,
  )
  const entries = [
    `${paint.cyan('⣀⡠⠔')} singular values${looseness(report)}`,
    `${paint.magenta('⠁⠁⠁')} share of ‖·‖_F² up to there`,
    `${paint.green('┊')} ${ranks.join(', ')}`,
    ...(floor === undefined ? [] : [`${paint.yellow('╌╌')} noise floor ${figure(floor)}`]),
    ...(spectrum.complete ? [] : [`${paint.dim('░░')} not computed: --full`]),
  ]
  return wrap(entries.join(' · '), columns)
}
