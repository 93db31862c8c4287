import { notLoadedText } from '../../lora/found-by-loaders.ts'
import type { NotCarried, VerifiedLayer, VerifiedTensor } from '../../measure/measure.ts'
import { errorPaint, figure, paintWords, setting } from '../../report/cells.ts'
import {
  byError,
  countColumn,
  layerList,
  type Projection,
  rankSpanColumn,
  spanText,
} from '../../report/layer-list.ts'
import { equalNotes, note, partText, warningNotes } from '../../report/notes.ts'
import { type NamedColumn, namedGrid, table } from '../../report/table.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { addTo } from '../../text/compare.ts'
import { firstOf, shownName, someTensors } from '../../text/names.ts'
import { grouped, percent, shape, short } from '../../text/numbers.ts'
import { counted, paintLines, printable } from '../../text/quote.ts'
import { wrap } from '../../text/width.ts'
import { outputColumn } from '../output-column.ts'
import type { VerifyResult } from './verify.ts'

/** A tensor that isn't carried, with what would carry it, as a sentence. */
export interface NotCarriedInWords extends NotCarried {
  readonly cure?: string | undefined
}

/** What changed and isn't carried, by reason and in each by the size of the change, the largest first. */
export function notCarriedLines(
  notCarried: readonly NotCarriedInWords[],
  { paint, columns }: Pick<Terminal, 'paint' | 'columns'>,
): string[] {
  const groups = new Map<string, NotCarriedInWords[]>()
  for (const one of [...notCarried].sort(byChange)) addTo(groups, one.reason, one)
  return [...groups].map(([reason, group]) => {
    const tensors = firstOf(
      group.map(({ name, relativeChange }) => shownName(name) + changeText(relativeChange)),
    )
    const [{ cure }] = group
    const text = `Not carried: ${counted(group.length, 'tensor')}, ${printable(reason)}: ${tensors}.${cure === undefined ? '' : ` ${cure}.`}`
    return paintLines(wrap(text, columns), paint.yellow)
  })
}

/** Unknown sizes last. */
const sizeOf = ({ relativeChange = -1 }: NotCarried) => relativeChange

function byChange(a: NotCarried, b: NotCarried): number {
  const [x, y] = [sizeOf(a), sizeOf(b)]
  return x < y ? 1 : x > y ? -1 : 0
}

function changeText(change: number | undefined): string {
  if (change === undefined) return ''
  return Number.isFinite(change) ? ` (changed by ${figure(change)})` : ' (changed from zero)'
}

type Screen = Pick<Terminal, 'paint' | 'columns'>
type Carried = VerifiedLayer | VerifiedTensor

/** The report of `verify`: each layer, what is replaced and what is not carried, the errors over all, and whether they hold. */
export function verifyTables(result: VerifyResult, screen: Screen): string {
  const { layers, replaced, notCarried, maxError, maxOutputError } = result
  const sections = [
    title(result, screen),
    ...(layers.length > 0
      ? layerList(layers, layerColumns(maxError, maxOutputError), kindColumns(maxError), screen)
      : []),
    ...(replaced.length > 0
      ? [`${screen.paint.bold('Replaced whole')}\n${namedGrid(replaced, wholeColumns(maxError), screen)}`]
      : []),
    table(totals(result, screen), screen.columns),
    verdict(result, screen),
    [...notCarriedLines(notCarried, screen), ...notes(result, screen)].join('\n'),
  ]
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`
}

function title(
  { source: { adapter, base, tuned }, layers, seconds }: VerifyResult,
  { paint, columns }: Screen,
): string {
  const head = `lora-svd verify: ${printable(adapter)} against ${printable(tuned)} − ${printable(base)}`
  const facts = `${counted(layers.length, 'layer')} · ${short(seconds, 2)} s`
  return `${paintLines(wrap(head, columns), paint.bold)}\n${paint.dim(wrap(facts, columns))}`
}

const errorColumn = <Row extends Carried>(allowed: number | undefined): NamedColumn<Row> => ({
  title: 'error',
  align: 'right',
  worth: Number.POSITIVE_INFINITY,
  legend: '‖Δ − scale·B·A‖_F / ‖Δ‖_F with Δ = tuned − base',
  cell: ({ relativeError }, paint) => errorPaint(relativeError, paint, allowed)(figure(relativeError)),
})

const deltaColumn: NamedColumn<Carried> = {
  title: '‖Δ‖_F',
  align: 'right',
  worth: 9,
  cell: ({ deltaFrobenius }) => figure(deltaFrobenius),
}

const layerColumns = (
  allowed: number | undefined,
  allowedOutput: number | undefined,
): NamedColumn<VerifiedLayer>[] => [
  {
    title: 'shape',
    align: 'right',
    worth: 8,
    cell: ({ shape: [rows, columns] }) => shape(rows, columns),
  },
  {
    title: 'rank',
    align: 'right',
    worth: 13,
    cell: ({ rank }, paint) => paint.cyan(grouped(rank)),
  },
  { title: 'scale', align: 'right', worth: 10, cell: ({ scale }) => setting(scale) },
  errorColumn(allowed),
  outputColumn(
    allowedOutput,
    "the error of outputs: the same times C^½, C the moments of the layer's inputs",
  ),
  deltaColumn,
]

const wholeColumns = (allowed: number | undefined): NamedColumn<VerifiedTensor>[] => [
  { ...errorColumn<VerifiedTensor>(allowed), legend: '‖tuned − what is stored‖_F / ‖Δ‖_F' },
  deltaColumn,
]

const kindColumns = (allowed: number | undefined): NamedColumn<Projection<VerifiedLayer>>[] => [
  countColumn,
  rankSpanColumn,
  {
    title: 'scale',
    align: 'right',
    worth: 8,
    cell: ({ rows }) => {
      const scales = rows.flatMap(({ scale }) => scale ?? [])
      return scales.length === 0 ? setting(undefined) : spanText(scales, setting)
    },
  },
  {
    title: 'error',
    align: 'right',
    worth: 14,
    cell: ({ rows }, paint) => {
      const errors = rows.map(({ relativeError }) => relativeError)
      return errorPaint(Math.max(...errors), paint, allowed)(spanText(errors, figure))
    },
  },
]

function totals(
  { totals, worst, layers, replaced, notCarried, maxError, output, maxOutputError }: VerifyResult,
  { paint }: Screen,
) {
  const { relativeError, wholeRelativeError } = totals
  const colour = (error: number) => paintWords(errorText(error), errorPaint(error, paint, undefined))
  const kept = relativeError < 1 ? [['kept of ‖Δ‖_F²', percent(1 - relativeError ** 2)]] : []
  return [
    ['carried', carriedText(layers, replaced)],
    ['error over these', colour(relativeError)],
    ...kept,
    ...(notCarried.length > 0
      ? [
          ['not carried', paintWords(counted(notCarried.length, 'tensor'), paint.yellow)],
          ['over all that changed', colour(wholeRelativeError)],
        ]
      : []),
    ...(worst === undefined
      ? []
      : [
          [
            'largest error',
            `${paintWords(errorText(worst.relativeError), errorPaint(worst.relativeError, paint, maxError))} ${shownName(worst.name)}`,
          ],
        ]),
    ...(output?.worst === undefined
      ? []
      : [
          [
            'error of outputs',
            `${colour(output.relativeError)} over ${output.unweighed.length === 0 ? 'all layers' : `the ${counted(output.layers, 'layer')} with moments`}`,
          ],
          [
            'largest of these',
            `${paintWords(errorText(output.worst.relativeError), errorPaint(output.worst.relativeError, paint, maxOutputError))} ${shownName(output.worst.name)}`,
          ],
        ]),
  ]
}

const carriedText = (layers: readonly unknown[], replaced: readonly unknown[]) =>
  `${counted(layers.length, 'layer')}${replaced.length === 0 ? '' : `, ${counted(replaced.length, 'whole tensor')}`}`

/** An error with nothing to compare with is said in words. */
const errorText = (error: number) => (Number.isFinite(error) ? short(error) : 'infinite')

function verdict(
  { holds, maxError, layers, replaced, notLoaded, worst, totals, output, maxOutputError }: VerifyResult,
  screen: Screen,
): string {
  const { paint } = screen
  const lines: string[] = []
  const say = (text: string, colour: (text: string) => string) => lines.push(note(text, colour, screen))
  for (const text of infiniteErrors([...layers, ...replaced])) say(text, paint.red)
  if (worst === undefined) say('The adapter carries nothing of what was compared.', paint.yellow)
  for (const one of notLoaded)
    say(
      `${printable(notLoadedText(one))}: ${counted(one.modules.length, 'module')} (${firstOf(one.modules.map(printable))}).`,
      paint.red,
    )
  if (notLoaded.length > 0) say('Does not hold: what is measured here is not what a model gets.', paint.red)
  const part = partText(totals)
  if (part !== undefined) say(`Does not hold for the whole model: ${part}.`, paint.red)
  if (output !== undefined && maxOutputError !== undefined) {
    const far = layers.filter((layer) => (layer.output?.relativeError ?? 0) > maxOutputError)
    if (far.length > 0) {
      say(
        `Does not hold: outputs above ${short(maxOutputError)}: ${someTensors(far.map(({ name }) => name))}.`,
        paint.red,
      )
    }
    if (output.unweighed.length > 0) {
      say(`Does not hold: no moments tell of ${someTensors(output.unweighed)}.`, paint.red)
    }
    if (holds) say(`Holds: no error of outputs is above ${short(maxOutputError)}.`, paint.green)
  }
  if (maxError === undefined || worst === undefined) return lines.join('\n')
  const above = [...layers, ...replaced].filter(({ relativeError }) => relativeError > maxError)
  if (holds) say(`Holds: no error is above ${short(maxError)}.`, paint.green)
  else if (above.length > 0)
    say(
      `Does not hold: above ${short(maxError)}: ${someTensors(byError(above).map(({ name }) => name))}.`,
      paint.red,
    )
  return lines.join('\n')
}

/** Why errors are infinite, and which. */
export function infiniteErrors(
  carried: readonly (Pick<VerifiedTensor, 'name' | 'relativeError'> & Partial<VerifiedTensor>)[],
): string[] {
  const infinite = carried.filter(({ relativeError }) => relativeError === Number.POSITIVE_INFINITY)
  const named = (why: string, rows: typeof carried) =>
    rows.length === 0 ? [] : [`${why}: ${someTensors(rows.map(({ name }) => name))}.`]
  const isShape = ({ residualFrobenius }: (typeof carried)[number]) =>
    residualFrobenius === Number.POSITIVE_INFINITY
  return [
    ...named(
      'Base and tuned are equal here, and the adapter changes it',
      infinite.filter((one) => !isShape(one)),
    ),
    ...named('Stored in another shape than the tuned one has', infinite.filter(isShape)),
  ]
}

const notes = ({ warnings, unchanged }: VerifyResult, screen: Screen): string[] => [
  ...warningNotes(warnings, screen),
  ...equalNotes(unchanged, screen),
]
