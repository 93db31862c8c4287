import { energyKept, orderOf, roundingLevelOf, valueAt } from '../../../linalg/spectrum/measures.ts'
import type { IntegerRange } from '../../../linalg/spectrum/spectrum.ts'
import {
  figure,
  intervalFigure,
  paintWords,
  rangeText,
  realRank,
  realRankRange,
  setting,
} from '../../../report/cells.ts'
import { equalNotes, note, warningNotes } from '../../../report/notes.ts'
import { spectrumTable } from '../../../report/spectrum.ts'
import { table } from '../../../report/table.ts'
import type { Terminal } from '../../../terminal/terminal.ts'
import { addTo } from '../../../text/compare.ts'
import { shownName, someTensors } from '../../../text/names.ts'
import { bytes, grouped, percent, shape, short } from '../../../text/numbers.ts'
import { printable } from '../../../text/quote.ts'
import { ENERGY_SHARES, type InspectResult, type MatrixReport } from '../result.ts'
import { verdictPaint } from '../verdict.ts'
import { type IntruderCounts, intruderText } from './columns.ts'

/** What is wrong, what to know, and what was left out, the gravest first. */
export function notesOf(result: InspectResult, screen: Pick<Terminal, 'paint' | 'columns'>): string[] {
  const { nonFinite, warnings, unchanged, skipped } = result
  const { paint } = screen
  return [
    ...nonFinite.map(({ name, file, count, first: { row, column, value } }) => {
      const entries = `${grouped(count)} ${count === 1 ? 'entry' : 'entries'} NaN or infinite`
      const text = `${printable(file)}: ${shownName(name)}: ${entries}, the first (${value}) at row ${row}, column ${column}`
      return note(text, paint.red, screen)
    }),
    ...warningNotes(warnings, screen),
    ...equalNotes(unchanged, screen),
    ...skippedTexts(skipped).map((text) => note(text, paint.dim, screen)),
  ]
}

function skippedTexts(skipped: InspectResult['skipped']): string[] {
  const reasons = new Map<string, string[]>()
  for (const { name, reason } of skipped) addTo(reasons, reason, name)
  return [...reasons].map(([reason, names]) => `Skipped, ${printable(reason)}: ${someTensors(names)}.`)
}

/** One matrix: its spectrum around the rank that keeps 99 %, then every figure. */
export function matrixFacts(
  matrix: MatrixReport,
  { paint, columns }: Pick<Terminal, 'paint' | 'columns'>,
): string {
  const { spectrum, verdict } = matrix
  const S = spectrum.singularValues
  const kept = Math.min(matrix.energyRanks['0.99'].atMost, S.length)
  const frobenius = spectrum.complete ? undefined : spectrum.frobenius
  const facts = table(
    [...factsOf(matrix, paint), ['verdict', paintWords(verdict.text, verdictPaint(verdict.kind, paint))]],
    columns,
  )
  if (!(S[0] > 0)) return facts
  const bounds = {
    value: (i: number) => valueAt(spectrum, i),
    kept: (r: number) => energyKept(spectrum, r),
    rounding: roundingLevelOf(spectrum),
  }
  return `${spectrumTable(S, kept, { paint, columns }, frobenius, bounds)}\n${facts}`
}

function factsOf(matrix: MatrixReport, paint: Terminal['paint']): string[][] {
  const {
    spectrum,
    shape: [rows, columns],
    storedShape,
    energyRanks,
    effectiveRank,
    base,
    noise,
    adapter,
  } = matrix
  const order = orderOf(spectrum)
  const ofOrder = (range: IntegerRange) => `${rangeText(range, order)} of ${grouped(order)}`
  const stored =
    storedShape.length === 2 || storedShape.length === 0 ? '' : ` (stored as ${storedShape.join(' × ')})`
  const energies = ENERGY_SHARES.map((share) => [
    `rank for ${Number(share) * 100} % of ‖·‖_F²`,
    ofOrder(energyRanks[`${share}`]),
  ])
  return [
    ['matrix', shownName(matrix.name)],
    ['shape', `${shape(rows, columns)}${stored}`],
    ['stored', `${printable(matrix.dtype)}, ${bytes(matrix.bytes)}`],
    ['‖·‖_F', short(spectrum.frobenius)],
    ['‖·‖₂', intervalFigure(matrix.spectral)],
    ...(base
      ? [
          [
            'relative change',
            `${figure(base.relativeChange)} (the base: ${figure(base.frobenius)}, ${printable(base.dtype)})`,
          ],
        ]
      : []),
    ...(base?.dominance ? [['dominance', `${intervalFigure(base.dominance)} of the base's ‖·‖₂`]] : []),
    ...(base?.intruders ? [['intruder directions', intrudersFact(base.intruders)]] : []),
    ['numerical rank', paint.cyan(ofOrder(matrix.rank))],
    ...(adapter
      ? [
          ['nominal rank', grouped(adapter.nominalRank)],
          ['wasted directions', grouped(adapter.wasted)],
          ...(adapter.alpha === undefined ? [] : [['alpha', setting(adapter.alpha)]]),
          ['scale', setting(adapter.scale)],
        ]
      : []),
    ['stable rank', realRankRange(matrix.stableRank)],
    [
      'effective rank',
      effectiveRank === undefined ? 'needs all singular values: --full' : realRank(effectiveRank),
    ],
    ...energies,
    ...(noise
      ? [
          ['noise floor', figure(noise.floor)],
          ['rank above the noise', ofOrder(noise.rankAbove)],
          ['entries that changed', changed(noise)],
        ]
      : []),
  ]
}

function intrudersFact(intruders: IntruderCounts): string {
  const text = `${intruderText(intruders)} leading directions of W + Δ`
  return intruders.undecided === 0
    ? text
    : `${text} (${grouped(intruders.undecided)} undecided: --full tells)`
}

function changed({ changedShare, isSubUlp }: NonNullable<MatrixReport['noise']>): string {
  const share = percent(changedShare)
  return isSubUlp ? `${share}, most by less than one unit in the last place: the floor is a guess` : share
}
