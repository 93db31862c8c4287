import { ROUNDING_ERROR } from '../../linalg/spectrum/measures.ts'
import type { Interval } from '../../linalg/spectrum/spectrum.ts'
import { errorPaint, figure, UNKNOWN } from '../../report/cells.ts'
import { countColumn, type Projection, spanText } from '../../report/layer-list.ts'
import type { NamedColumn } from '../../report/table.ts'
import { grouped, roughPercent, shape } from '../../text/numbers.ts'
import { outputColumn } from '../output-column.ts'
import type { ExtractedLayer } from './result.ts'

/** Excesses up to this count as none; from the second on they are alarming. */
const SMALL_EXCESS = 0.0005
const LARGE_EXCESS = 0.01
/** What two decimals of a percentage don't show. */
const LEAST_SHOWN = 1e-4
/** An excess of more than this factor is written as one. */
const FACTOR_FROM = 2

/** At most how far a measured error is above the best possible one, as a share of it; undefined where that is rounding. */
export const excessOver = (error: number, { atLeast }: Interval): number | undefined =>
  atLeast <= ROUNDING_ERROR ? undefined : Math.max(0, error / atLeast - 1)

/** +0.03 %, rounded up; < 0.01 %; 2.3 × from twice the best on. */
export function excessText(excess: number | undefined): string {
  if (excess === undefined) return UNKNOWN
  if (excess < LEAST_SHOWN) return percentAbove(excess)
  return excess >= FACTOR_FROM - 1 ? factorText(excess) : `+${percentAbove(excess)}`
}

/** The same in a sentence about an error. */
export const excessPhrase = (excess: number) =>
  excess >= FACTOR_FROM - 1
    ? `the error is at most ${factorText(excess)} it`
    : `the error is ${excess < LEAST_SHOWN ? 'less than 0.01 %' : `at most ${percentAbove(excess)}`} above it`

const factorText = (excess: number) => `${figure(excess + 1)} ×`

/** Rounded up, with two decimals, or one from 10 % on. */
function percentAbove(excess: number): string {
  if (excess < LEAST_SHOWN) return '< 0.01 %'
  const decimals = excess < 0.1 ? 2 : 1
  const unit = 10 ** decimals
  return `${(Math.ceil(100 * unit * excess - ROUNDING_ERROR) / unit).toFixed(decimals)} %`
}

const intervalText = ({ atLeast, atMost }: Interval) => {
  if (atLeast === 0 && atMost > 0) return `≤ ${figure(atMost)}`
  const [low, high] = [figure(atLeast), figure(atMost)]
  return low === high ? low : `${low}–${high}`
}

export const layerColumns: readonly NamedColumn<ExtractedLayer>[] = [
  { title: 'shape', align: 'right', worth: 8, cell: ({ shape: [rows, columns] }) => shape(rows, columns) },
  { title: 'dtype', align: 'left', worth: 2, cell: ({ dtype }) => dtype },
  {
    title: 'rank',
    align: 'right',
    worth: 13,
    cell: ({ rank }, paint) => paint.cyan(grouped(rank)),
  },
  {
    title: 'stored',
    align: 'right',
    worth: 4,
    has: ({ rank, storedRank }) => rank !== storedRank,
    cell: ({ storedRank }) => grouped(storedRank),
    legend: 'the rank with its padding of zeros',
  },
  {
    title: 'error',
    align: 'right',
    worth: Number.POSITIVE_INFINITY,
    cell: ({ relativeError }, paint) => errorPaint(relativeError, paint)(figure(relativeError)),
    legend: '‖Δ − B·A‖_F / ‖Δ‖_F on disk',
  },
  {
    title: 'best',
    align: 'right',
    worth: 10,
    cell: ({ optimalError }) => intervalText(optimalError),
    legend: 'the least possible at this rank',
  },
  {
    title: 'above',
    align: 'right',
    worth: 11,
    cell: ({ relativeError, optimalError }, paint) => {
      const excess = excessOver(relativeError, optimalError)
      const text = excessText(excess)
      if (excess === undefined) return paint.dim(text)
      return (excess <= SMALL_EXCESS ? paint.green : excess <= LARGE_EXCESS ? paint.yellow : paint.magenta)(
        text,
      )
    },
    legend: 'by how much at most the error is above the best',
  },
  outputColumn(),
  {
    title: 'best output',
    align: 'right',
    worth: 9.5,
    has: ({ output }) => output !== undefined,
    cell: ({ output }) => (output === undefined ? UNKNOWN : intervalText(output.optimalError)),
    legend: 'the least possible of that at this rank',
  },
  {
    title: 'change',
    align: 'right',
    worth: 9,
    cell: ({ relativeChange }) => figure(relativeChange),
    legend: '‖Δ‖_F / ‖base‖_F',
  },
  { title: '‖Δ‖_F', align: 'right', worth: 5, cell: ({ frobenius }) => figure(frobenius) },
  {
    title: 'rounding',
    align: 'right',
    worth: 7,
    has: ({ quantisation }) => quantisation !== undefined,
    cell: ({ quantisation }) => (quantisation === undefined ? UNKNOWN : roughPercent(quantisation.share)),
    legend: 'the share of ‖Δ‖_F² that is rounding of the base',
  },
  {
    title: 'of it',
    align: 'right',
    worth: 6.5,
    has: ({ quantisation }) => quantisation !== undefined,
    cell: ({ quantisation }) => (quantisation === undefined ? UNKNOWN : roughPercent(quantisation.carried)),
    legend: 'what the rank carries of that rounding',
  },
  {
    title: 'floor',
    align: 'right',
    worth: 6,
    has: ({ noiseFloor }) => noiseFloor !== undefined,
    cell: ({ noiseFloor }) => figure(noiseFloor),
    legend: 'what the rounding of the stored dtypes explains',
  },
]

const spanOf =
  (pick: (layer: ExtractedLayer) => number, text: (value: number) => string) =>
  ({ rows }: Projection<ExtractedLayer>) =>
    spanText(rows.map(pick), text)

/** Of many layers of one kind. */
export const kindColumns: readonly NamedColumn<Projection<ExtractedLayer>>[] = [
  countColumn,
  {
    title: 'rank',
    align: 'right',
    worth: 13,
    cell: (kind, paint) => paint.cyan(spanOf(({ rank }) => rank, grouped)(kind)),
  },
  {
    title: 'error',
    align: 'right',
    worth: 14,
    cell: (kind, paint) => {
      const most = kind.rows.reduce((most, { relativeError }) => Math.max(most, relativeError), 0)
      return errorPaint(most, paint)(spanOf(({ relativeError }) => relativeError, figure)(kind))
    },
  },
  {
    title: 'output',
    align: 'right',
    worth: 12,
    has: ({ rows }) => rows.some(({ output }) => output !== undefined),
    cell: ({ rows }) => {
      const errors = rows.flatMap(({ output }) => (output === undefined ? [] : [output.relativeError]))
      return errors.length === 0 ? UNKNOWN : spanText(errors, figure)
    },
  },
  {
    title: 'above',
    align: 'right',
    worth: 10,
    cell: ({ rows }) => {
      const known = rows
        .map(({ relativeError, optimalError }) => excessOver(relativeError, optimalError))
        .filter((excess) => excess !== undefined)
      return known.length === 0 ? UNKNOWN : excessText(Math.max(...known))
    },
  },
  { title: 'change', align: 'right', worth: 8, cell: spanOf(({ relativeChange }) => relativeChange, figure) },
]
