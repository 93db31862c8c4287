import { figure } from '../../report/cells.ts'
import { countColumn, layerList, type Projection, spanText } from '../../report/layer-list.ts'
import { type NamedColumn, table } from '../../report/table.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { firstOf, shownName } from '../../text/names.ts'
import { bytes, grouped, short } from '../../text/numbers.ts'
import { counted, paintLines, printable, shapeText } from '../../text/quote.ts'
import { wrap } from '../../text/width.ts'
import type { AppliedTensor, ApplyPreview, ApplyResult, How, PlannedTensor } from './result.ts'
import { adviceText, keptText } from './sentences.ts'

type Screen = Pick<Terminal, 'paint' | 'columns'>
type Layer = (PlannedTensor | AppliedTensor) & { readonly relativeError: number }
type Result = ApplyResult | ApplyPreview

/** The report of `apply`, or of what it would do: each changed tensor, what rounding leaves of it, and what follows. */
export function applyTables(result: Result, screen: Screen): string {
  const layers = result.layers.map((layer): Layer => {
    const { roundingError } = roundingOf(layer)
    return { ...layer, relativeError: roundingError }
  })
  const sections = [
    title(result, screen),
    ...(layers.length > 0 ? layerList(layers, layerColumns, kindColumns, screen) : []),
    table(totals(result, screen), screen.columns),
    verdict(result, screen),
    notes(result, screen),
  ]
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`
}

const isDone = (result: Result): result is ApplyResult => 'seconds' in result

function title(result: Result, { paint, columns }: Screen): string {
  const { base, adapters } = result.source
  const added = adapters.map(
    ({ path, weight }) => `${weight === 1 ? '' : `${short(weight)} · `}${printable(path)}`,
  )
  const head = `lora-svd apply: ${printable(base)} + ${added.join(' + ')}`
  const facts = isDone(result)
    ? `${counted(result.totals.changed, 'tensor')} changed · ${short(result.seconds, 2)} s`
    : `${counted(result.totals.changed, 'tensor')} would change · nothing is written`
  return `${paintLines(wrap(head, columns), paint.bold)}\n${paint.dim(wrap(facts, columns))}`
}

/** After the write as measured, before it as expected. */
const roundingOf = (layer: PlannedTensor | AppliedTensor) => ('gain' in layer ? layer : layer.expected)

const WORDS: Record<How, string> = {
  factors: 'B·A',
  dora: 'DoRA',
  added: 'added',
  replaced: 'replaced',
  new: 'new',
}

/** From this gain on there is nothing to look at. */
const FULL_GAIN = 0.99
const layerColumns: NamedColumn<Layer>[] = [
  { title: 'shape', align: 'right', worth: 6, cell: ({ shape }) => shapeText(shape) },
  { title: 'as', align: 'left', worth: 8, cell: ({ dtype }) => dtype },
  { title: 'how', align: 'left', worth: 7, cell: ({ how }) => WORDS[how] },
  {
    title: 'rank',
    align: 'right',
    worth: 9,
    cell: ({ rank }, paint) => (rank === 0 ? '' : paint.cyan(grouped(rank))),
  },
  {
    title: 'kept',
    align: 'right',
    worth: Number.POSITIVE_INFINITY,
    legend: '⟨stored − W, Δ⟩ / ‖Δ‖², how much of the change is there once it is rounded',
    cell: (layer, paint) => {
      const { gain } = roundingOf(layer)
      return (gain < FULL_GAIN ? paint.yellow : paint.green)(keptText(gain))
    },
  },
  {
    title: 'rounding',
    align: 'right',
    worth: 14,
    legend: '‖stored − W − Δ‖_F / ‖Δ‖_F',
    cell: (layer) => figure(roundingOf(layer).roundingError),
  },
]

const spanOf = (rows: readonly Layer[], value: (layer: Layer) => number, text: (x: number) => string) =>
  spanText(rows.map(value), text)

const kindColumns: NamedColumn<Projection<Layer>>[] = [
  countColumn,
  { title: 'rank', align: 'right', worth: 8, cell: ({ rows }) => spanOf(rows, ({ rank }) => rank, grouped) },
  {
    title: 'kept',
    align: 'right',
    worth: 14,
    cell: ({ rows }) => spanOf(rows, (layer) => roundingOf(layer).gain, keptText),
  },
  {
    title: 'rounding',
    align: 'right',
    worth: 12,
    cell: ({ rows }) => spanOf(rows, (layer) => roundingOf(layer).roundingError, figure),
  },
]

function totals(result: Result, { paint }: Screen): string[][] {
  const { totals, output } = result
  const { changed, converted, copied, expected } = totals
  const rounding = ({ gain, roundingError }: { gain: number; roundingError: number }) =>
    `${keptText(gain)}, rounding ${figure(roundingError)}`
  return [
    ['changed', counted(changed, 'tensor')],
    ...(converted > 0 ? [['written in another type', counted(converted, 'tensor')]] : []),
    ...(copied > 0 ? [['as they were', counted(copied, 'tensor')]] : []),
    ['kept, by a sample', rounding(expected)],
    ...('gain' in totals ? [['kept, as it lies on disk', paint.green(rounding(totals))]] : []),
    ['output', `${printable(output.path)} (${counted(output.files.length, 'file')}, ${bytes(output.bytes)})`],
  ]
}

function verdict(result: Result, { paint, columns }: Screen): string {
  const lines: string[] = []
  const say = (text: string, colour: (text: string) => string) =>
    lines.push(paintLines(wrap(text, columns), colour))
  const { ignored, holds } = result
  if (ignored.length > 0) {
    const names = firstOf(ignored.map(({ name, reason }) => `${shownName(name)} (${printable(reason)})`))
    say(`Not applied: ${counted(ignored.length, 'tensor')} of the adapters: ${names}.`, paint.red)
  }
  const advice = result.advice.map(adviceText)
  for (const text of advice) say(`${text}.`, paint.yellow)
  if (holds && advice.length === 0) {
    say(
      isDone(result) ? 'All of it is in, and lies on the disk as it was computed.' : 'All of it would be in.',
      paint.green,
    )
  }
  return lines.join('\n')
}

function notes(result: Result, { paint, columns }: Screen): string {
  const { warnings, untied, vocabulary } = result
  const lines = [
    ...(untied === undefined
      ? []
      : [
          `The head was tied to the embedding ${shownName(untied.embedding)}; ${shownName(untied.head)} is a tensor of its own now, and config.json says tie_word_embeddings: false.`,
        ]),
    ...(vocabulary === undefined
      ? []
      : [`The vocabulary has ${grouped(vocabulary)} words now, which config.json says too.`]),
    ...('leftOut' in result.output && result.output.leftOut.length > 0
      ? [`Not taken along: ${firstOf(result.output.leftOut.map(printable))}.`]
      : []),
  ]
  return [
    ...warnings.map((warning) => paintLines(wrap(`Warning: ${printable(warning)}`, columns), paint.yellow)),
    ...lines.map((line) => paintLines(wrap(line, columns), paint.dim)),
  ].join('\n')
}
