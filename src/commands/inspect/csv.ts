import { errorAt, roundingLevelOf } from '../../linalg/spectrum/measures.ts'
import type { IntegerRange, Interval } from '../../linalg/spectrum/spectrum.ts'
import { SCALED_LOADERS } from '../../lora/loader-scales.ts'
import { printable } from '../../text/quote.ts'
import {
  ENERGY_SHARES,
  type EnergyShare,
  type InspectResult,
  type MatrixReport,
  TABULATED_RANKS,
} from './result.ts'

type Value = string | number | boolean | undefined

/** Spreadsheets take a field that begins so for a formula (OWASP, "CSV Injection"). */
const FORMULA = /^[=+\-@\t\r＝＋－＠]/

/**
 * One row a matrix, as RFC 4180 has it: a header, lines that end in CRLF, quotes where they are needed. The columns are the
 * same for every result; what a matrix doesn't have is empty. Numbers have all their digits. What may be a range takes two
 * columns, `…_at_least` and `…_at_most`. A text that a spreadsheet would run as a formula is preceded by an apostrophe, and what a
 * terminal would obey or hide is an escape, as in messages; JSON has the name itself.
 */
export function csvOf({ matrices }: InspectResult): string {
  const rows = matrices.map((matrix) => COLUMNS.map(([, of]) => of(matrix)))
  return [COLUMNS.map(([head]) => head), ...rows]
    .map((fields) => `${fields.map(fieldOf).join(',')}\r\n`)
    .join('')
}

type Column = readonly [head: string, of: (matrix: MatrixReport) => Value]

const range = (
  head: string,
  rangeOf: (matrix: MatrixReport) => IntegerRange | Interval | undefined,
): Column[] => [
  [`${head}_at_least`, (matrix) => rangeOf(matrix)?.atLeast],
  [`${head}_at_most`, (matrix) => rangeOf(matrix)?.atMost],
]

const COLUMNS: readonly Column[] = [
  ['name', ({ name }) => name],
  ['rows', ({ shape }) => shape[0]],
  ['columns', ({ shape }) => shape[1]],
  ['stored_shape', ({ storedShape }) => storedShape.join(' ')],
  ['dtype', ({ dtype }) => dtype],
  ['bytes', ({ bytes }) => bytes],
  ['frobenius_norm', ({ spectrum }) => spectrum.frobenius],
  ['spectral_norm', ({ spectrum }) => spectrum.singularValues[0] ?? 0],
  ...range('spectral_norm', ({ spectral }) => spectral),
  ['rounding_level', ({ spectrum }) => roundingLevelOf(spectrum)],
  ['singular_values_known', ({ spectrum }) => spectrum.singularValues.length],
  ['complete', ({ spectrum }) => spectrum.complete],
  ...range('numerical_rank', ({ rank }) => rank),
  ['stable_rank', ({ stableRank }) => stableRank.atMost],
  ...range('stable_rank', ({ stableRank }) => stableRank),
  ['effective_rank', ({ effectiveRank }) => effectiveRank],
  ...ENERGY_SHARES.flatMap((share) =>
    range(`energy_rank_${share}`, ({ energyRanks }) => energyRanks[String(share) as EnergyShare]),
  ),
  ...TABULATED_RANKS.flatMap((rank) =>
    range(`relative_error_at_rank_${rank}`, ({ spectrum }) => errorAt(spectrum, rank)),
  ),
  ['base_dtype', ({ base }) => base?.dtype],
  ['base_frobenius_norm', ({ base }) => base?.frobenius],
  ['relative_change', ({ base }) => base?.relativeChange],
  ...range('dominance', ({ base }) => base?.dominance),
  ['leading_directions', ({ base }) => base?.intruders?.directions],
  ['intruders', ({ base }) => base?.intruders?.intruders],
  ['intruders_undecided', ({ base }) => base?.intruders?.undecided],
  ['noise_floor', ({ noise }) => noise?.floor],
  ...range('rank_above_noise', ({ noise }) => noise?.rankAbove),
  ['changed_share', ({ noise }) => noise?.changedShare],
  ['changes_below_one_ulp', ({ noise }) => noise?.isSubUlp],
  ['nominal_rank', ({ adapter }) => adapter?.nominalRank],
  ['alpha', ({ adapter }) => adapter?.alpha],
  ['scale', ({ adapter }) => adapter?.scale],
  ['wasted_rank', ({ adapter }) => adapter?.wasted],
  ...SCALED_LOADERS.map((loader): Column => [`scale_${loader}`, (matrix) => scaleOf(matrix, loader)]),
  ['verdict', ({ verdict }) => verdict.kind],
  ['verdict_text', ({ verdict }) => verdict.text],
]

/** A loader's scale, or why it refuses. */
function scaleOf({ adapter }: MatrixReport, loader: string): Value {
  const found = adapter?.scales.find((scale) => scale.loader === loader)
  return found?.scale ?? (found?.refusal && `not loaded: ${found.refusal}`)
}

function fieldOf(value: Value): string {
  if (value === undefined || (typeof value === 'number' && !Number.isFinite(value))) return ''
  if (typeof value !== 'string') return String(value)
  const text = printable(FORMULA.test(value) ? `'${value}` : value)
  return /[",\r\n]/.test(text) || text !== value ? `"${text.replaceAll('"', '""')}"` : text
}
