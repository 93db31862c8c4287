import type { CombinePreview } from '../combine/preview.ts'
import type { Combined, CombinedLayer } from '../combine/result.ts'
import type { SummedAs } from '../convert/sum-as.ts'
import { errorAllowed } from '../linalg/spectrum/rules.ts'
import { errorPaint, figure, paintWords, UNKNOWN } from '../report/cells.ts'
import {
  byError,
  countColumn,
  isLong,
  kindGrid,
  layerList,
  type Projection,
  rankSpanColumn,
  spanText,
} from '../report/layer-list.ts'
import { note, warningNotes } from '../report/notes.ts'
import { type NamedColumn, namedGrid, table } from '../report/table.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { someTensors } from '../text/names.ts'
import { bytes, grouped, percent, percentUp, shape, short } from '../text/numbers.ts'
import { counted, paintLines, printable } from '../text/quote.ts'
import { wrap } from '../text/width.ts'
import { gapNotes } from './gap-text.ts'
import { outputColumn } from './output-column.ts'

type Screen = Pick<Terminal, 'paint' | 'columns'>

/** The head of a report: what was done to what, and how long it took. */
export function combinedTitle(
  head: string,
  { layers, engine }: Pick<Combined, 'layers' | 'engine'>,
  seconds: number,
  { paint, columns }: Screen,
): string {
  const facts = `${counted(layers.length, 'layer')} · ${short(seconds, 2)} s${engine === '' ? '' : ` on ${engine}`}`
  return `${paintLines(wrap(head, columns), paint.bold)}\n${paint.dim(wrap(facts, columns))}`
}

/** Each layer's ranks and errors; where there are many, each kind of layers. */
export const combinedLayers = (
  { layers, rule }: Combined,
  screen: Screen,
  more: { readonly layer: readonly NamedColumn<CombinedLayer>[] } = { layer: [] },
): string[] =>
  layers.length === 0
    ? []
    : layerList(
        layers,
        [...layerColumns(allowedBy(rule)), ...more.layer],
        kindColumns(allowedBy(rule)),
        screen,
      )

const allowedBy = (rule: Combined['rule']) => {
  const allowed = rule.kind === 'exact' ? Number.POSITIVE_INFINITY : errorAllowed(rule)
  return Number.isFinite(allowed) ? allowed : undefined
}

const rankText = ({ rank, storedRank }: CombinedLayer) =>
  rank === storedRank ? grouped(rank) : `${grouped(rank)} in ${grouped(storedRank)}`

const layerColumns = (allowed: number | undefined): NamedColumn<CombinedLayer>[] => [
  { title: 'shape', align: 'right', worth: 6, cell: ({ shape: [rows, columns] }) => shape(rows, columns) },
  { title: 'from', align: 'right', worth: 10, cell: ({ rankBefore }) => grouped(rankBefore) },
  {
    title: 'true',
    align: 'right',
    worth: 8,
    legend: 'directions of the change above the rounding of float64',
    cell: ({ numericalRank }) => grouped(numericalRank),
  },
  { title: 'rank', align: 'right', worth: 13, cell: (layer, paint) => paint.cyan(rankText(layer)) },
  {
    title: 'error',
    align: 'right',
    worth: Number.POSITIVE_INFINITY,
    legend: '‖Δ − B·A‖_F / ‖Δ‖_F of what lies on disk',
    cell: ({ relativeError }, paint) => errorPaint(relativeError, paint, allowed)(figure(relativeError)),
  },
  {
    title: 'best',
    align: 'right',
    worth: 12,
    legend: 'the least that factors of this rank can have',
    cell: ({ optimalError }) => figure(optimalError.atLeast),
  },
  outputColumn(allowed),
  {
    title: 'best output',
    align: 'right',
    worth: 9.5,
    has: ({ output }) => output !== undefined,
    legend: 'the least possible of that at this rank',
    cell: ({ output }) => (output === undefined ? UNKNOWN : figure(output.optimalError.atLeast)),
  },
  { title: '‖Δ‖_F', align: 'right', worth: 7, cell: ({ frobenius }) => figure(frobenius) },
]

const kindColumns = (allowed: number | undefined): NamedColumn<Projection<CombinedLayer>>[] => [
  countColumn,
  {
    title: 'from',
    align: 'right',
    worth: 10,
    cell: ({ rows }) =>
      spanText(
        rows.map(({ rankBefore }) => rankBefore),
        grouped,
      ),
  },
  rankSpanColumn,
  {
    title: 'error',
    align: 'right',
    worth: 14,
    cell: ({ rows }, paint) => {
      const errors = rows.map(({ relativeError }) => relativeError)
      return errorPaint(Math.max(...errors), paint, allowed)(spanText(errors, figure))
    },
  },
  {
    title: 'best',
    align: 'right',
    worth: 12,
    cell: ({ rows }) =>
      spanText(
        rows.map(({ optimalError }) => optimalError.atLeast),
        figure,
      ),
  },
]

/** The totals, as rows of a table of two columns; `more` come before what is written. */
export function combinedTotals(
  result: Combined,
  more: readonly string[][],
  { paint, columns }: Screen,
): string {
  const { totals, output, kept, rule, couldGain } = result
  const { optimalError: best } = totals
  return table(
    [
      [
        'error on disk',
        `${paintWords(short(totals.relativeError), errorPaint(totals.relativeError, paint))} over all layers${totals.relativeError < 1 ? `: ${percent(1 - totals.relativeError ** 2)} of ‖Δ‖_F² kept` : ''}`,
      ],
      [
        'best possible',
        short(best.atLeast) === short(best.atMost)
          ? short(best.atLeast)
          : `${short(best.atLeast)} … ${short(best.atMost)}`,
      ],
      ...(totals.output === undefined || totals.output.layers === 0
        ? []
        : [
            [
              'error of outputs',
              `${paintWords(short(totals.output.relativeError), errorPaint(totals.output.relativeError, paint))} over ${totals.output.unweighed.length === 0 ? 'all' : `the ${counted(totals.output.layers, 'layer')} with moments`}; at best ${short(totals.output.optimalError.atLeast)}`,
            ],
          ]),
      ...more,
      ...(rule.kind === 'budget'
        ? [
            [
              'budget',
              `${bytes(output.bytes)} of ${bytes(rule.bytes)} used; another split could have gained at most ${percentUp(couldGain ?? 0)} of ‖Δ‖_F²`,
            ],
          ]
        : []),
      ...(kept.length === 0 ? [] : [['kept as it is', counted(kept.length, 'tensor')]]),
      ['before', bytes(totals.bytesBefore)],
      [
        'written',
        `${bytes(totals.bytes)} to ${printable(output.path)} (${output.format}, ${result.layout}, ${result.dtype})`,
      ],
    ],
    columns,
  )
}

/** Whether what was asked holds, what is not in the result, and what to know besides. */
export function combinedNotes(result: SummedAs, screen: Screen): string {
  const { paint } = screen
  const { broken, lost, rule, holds, totals } = result
  const allowed = allowedBy(rule) ?? Number.POSITIVE_INFINITY
  const isOfRounding = result.layers.every(
    ({ name, optimalError }) => !broken.includes(name) || optimalError.atLeast <= allowed,
  )
  const because = isOfRounding
    ? `Rounding to ${result.dtype} took what was left${result.dtype === 'f32' ? ', and nothing wider is written: ask for less.' : ': a wider --dtype holds it.'}`
    : 'The limits of the rank leave too few directions: a larger --max-rank, or no --multiple-of, holds it.'
  const over = rule.kind === 'budget' && totals.bytes > rule.bytes
  const worst = byError(result.layers.filter(({ name }) => broken.includes(name))).map(({ name }) => name)
  return [
    ...(broken.length === 0
      ? []
      : [
          note(
            `Not kept: the error that was asked, in ${counted(broken.length, 'layer')}: ${someTensors(worst)}. ${because}`,
            paint.red,
            screen,
          ),
        ]),
    ...(over ? [note(`Not kept: ${bytes(totals.bytes)} are more than the budget.`, paint.red, screen)] : []),
    ...lostNotes(lost, screen),
    ...gapNotes(result.gaps, screen),
    ...(holds ? [note('What was asked holds.', paint.green, screen)] : []),
    ...(totals.bytes > totals.bytesBefore && bytes(totals.bytes) !== bytes(totals.bytesBefore)
      ? [note(largerText(result), paint.yellow, screen)]
      : []),
    ...warningNotes(result.warnings, screen),
  ].join('\n')
}

/** Why a result takes more than what it is made of, and what would not. */
function largerText({ layers, layout, totals, dtype }: Combined): string {
  const isPadded = layout === 'portable' && layers.some(({ rank, storedRank }) => rank < storedRank)
  const cures = [
    ...(isPadded ? ['--layout pattern stores no zeros'] : []),
    ...(dtype === 'f32' ? ['--dtype bf16 takes half'] : []),
  ]
  const cure = cures.length === 0 ? 'a LoHa or LoKr is smaller as it is' : cures.join(', ')
  return `Larger than before: ${bytes(totals.bytes)} for ${bytes(totals.bytesBefore)}: ${cure}.`
}

/** The whole report of a dry run: each layer's ranks, what it would take, and what would not be in the result. */
export function combinedPlan(head: string, preview: CombinePreview, screen: Screen): string {
  const { layers, output, kept, lost, warnings } = preview
  const { paint, columns } = screen
  const isLongList = isLong(layers)
  const sections = [
    `${paintLines(wrap(head, columns), paint.bold)}\n${paint.dim(counted(layers.length, 'layer'))}`,
    isLongList ? kindGrid(layers, planKindColumns, screen) : namedGrid(layers, planColumns, screen),
    table(
      [
        ...(output.bytes === undefined ? [] : [['would take', `${bytes(output.bytes)} at most`]]),
        ['free', bytes(output.free)],
        ...(kept.length === 0 ? [] : [['kept as it is', counted(kept.length, 'tensor')]]),
        ['would go to', `${printable(output.path)} (${output.format}, ${preview.layout}, ${preview.dtype})`],
      ],
      columns,
    ),
    [
      ...lostNotes(lost, screen),
      ...warningNotes(warnings, screen),
      note('Nothing was written.', paint.dim, screen),
    ].join('\n'),
  ]
  return `${sections.join('\n\n')}\n`
}

type PlannedLayer = CombinePreview['layers'][number]

const planColumns: readonly NamedColumn<PlannedLayer>[] = [
  { title: 'shape', align: 'right', worth: 6, cell: ({ shape: [rows, columns] }) => shape(rows, columns) },
  { title: 'from', align: 'right', worth: 10, cell: ({ rankBefore }) => grouped(rankBefore) },
  {
    title: 'rank',
    align: 'right',
    worth: 13,
    cell: ({ rank }, paint) => paint.cyan(rank === undefined ? UNKNOWN : `≤ ${grouped(rank)}`),
  },
]

const planKindColumns: readonly NamedColumn<Projection<PlannedLayer>>[] = [
  countColumn,
  {
    title: 'from',
    align: 'right',
    worth: 10,
    cell: ({ rows }) =>
      spanText(
        rows.map(({ rankBefore }) => rankBefore),
        grouped,
      ),
  },
]

/** Tensors that nobody reads. */
const lostNotes = (lost: Combined['lost'], screen: Screen): string[] =>
  lost.length === 0
    ? []
    : [
        note(
          `Not in the result: ${counted(lost.length, 'tensor')} that nobody reads, such as ${printable(lost[0].name)}: ${printable(lost[0].reason)}.`,
          screen.paint.red,
          screen,
        ),
      ]
