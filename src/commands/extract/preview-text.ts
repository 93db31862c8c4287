import { paintWords, UNKNOWN } from '../../report/cells.ts'
import { isLong, kindGrid, type Projection, spanText } from '../../report/layer-list.ts'
import { equalNotes, note, warningNotes } from '../../report/notes.ts'
import { type NamedColumn, namedGrid, table } from '../../report/table.ts'
import { shardText } from '../../shards/shard.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { firstOf, shownName } from '../../text/names.ts'
import { bytes, grouped, percent, roughPercent, shape } from '../../text/numbers.ts'
import { counted, paintLines, printable } from '../../text/quote.ts'
import { wrap } from '../../text/width.ts'
import { gapNotes } from '../gap-text.ts'
import { notCarriedLines } from '../verify/text.ts'
import type { ExtractPreview, JoinedShard, PlannedJoin, PlannedShard } from './result.ts'
import { guaranteeText, hasRoom, quantisationText } from './sentences.ts'
import { ROUNDS_TEXT } from './shard-text.ts'
import { inWords, wholeLines } from './text.ts'

type Screen = Pick<Terminal, 'paint' | 'columns'>
type Layer = ExtractPreview['layers'][number]

/** The report of a dry run: what would be carried, what not and why, and what room it takes. */
export function previewTables(preview: ExtractPreview, screen: Screen): string {
  const { saved } = preview
  const { paint, columns } = screen
  const sections = [
    title(preview, screen),
    layersGrid(preview.layers, screen),
    ...(saved.length > 0
      ? [`${paint.bold('To be stored whole')}\n${namedGrid(saved, [savedBytes], screen)}`]
      : []),
    table(facts(preview, screen), columns),
    [
      ...notCarriedLines(preview.notCarried.map(inWords(preview.output.format)), screen),
      ...notes(preview, screen),
    ].join('\n'),
  ]
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`
}

function title({ source, totals }: ExtractPreview, { paint, columns }: Screen): string {
  const head = `lora-svd extract --dry-run: ${printable(source.tuned)} − ${printable(source.base)}`
  const fact =
    totals.quantisation === undefined
      ? 'from headers and equal bytes; nothing was computed or written'
      : 'from headers, equal bytes and a sample of rows; nothing was decomposed or written'
  return `${paintLines(wrap(head, columns), paint.bold)}\n${paint.dim(wrap(fact, columns))}`
}

function layersGrid(layers: readonly Layer[], screen: Screen): string {
  if (layers.length === 0) return ''
  if (!isLong(layers)) return namedGrid(layers, layerColumns, screen)
  return `${kindGrid(layers, kindColumns, screen)}\n${screen.paint.dim('--json lists each layer')}`
}

const savedBytes: NamedColumn<{ readonly name: string; readonly bytes: number }> = {
  title: 'bytes',
  align: 'right',
  worth: Number.POSITIVE_INFINITY,
  cell: (saved) => bytes(saved.bytes),
}

const isKnown = ({ rank }: Layer) => rank !== undefined

const layerColumns: readonly NamedColumn<Layer>[] = [
  { title: 'shape', align: 'right', worth: 14, cell: ({ shape: [rows, columns] }) => shape(rows, columns) },
  { title: 'dtype', align: 'left', worth: 8, cell: ({ dtype }) => printable(dtype) },
  {
    title: 'rank',
    align: 'right',
    worth: 13,
    has: isKnown,
    cell: ({ rank }, paint) => (rank === undefined ? UNKNOWN : paint.cyan(grouped(rank))),
  },
  {
    title: 'rounding',
    align: 'right',
    worth: 11,
    has: ({ quantisation }) => quantisation !== undefined,
    cell: ({ quantisation }) => (quantisation === undefined ? UNKNOWN : roughPercent(quantisation.share)),
    legend: 'the share of ‖Δ‖_F² that is rounding of the base',
  },
  {
    title: 'bytes',
    align: 'right',
    worth: 12,
    has: ({ bytes }) => bytes !== undefined,
    cell: (layer) => (layer.bytes === undefined ? UNKNOWN : bytes(layer.bytes)),
  },
]

const kindColumns: readonly NamedColumn<Projection<Layer>>[] = [
  { title: 'count', align: 'right', worth: 14, cell: ({ rows }) => grouped(rows.length) },
  {
    title: 'shape',
    align: 'right',
    worth: 13,
    cell: ({ rows }) => {
      const shapes = new Set(rows.map(({ shape: [d, k] }) => shape(d, k)))
      return shapes.size === 1 ? [...shapes][0] : 'various'
    },
  },
  {
    title: 'dtype',
    align: 'left',
    worth: 8,
    cell: ({ rows }) => printable([...new Set(rows.map(({ dtype }) => dtype))].join('/')),
  },
  {
    title: 'rank',
    align: 'right',
    worth: 12.5,
    has: ({ rows }) => rows.some(isKnown),
    cell: ({ rows }, paint) => {
      const ranks = rows.map(({ rank }) => rank).filter((rank) => rank !== undefined)
      return ranks.length === 0 ? UNKNOWN : paint.cyan(spanText(ranks, grouped))
    },
  },
  {
    title: 'bytes',
    align: 'right',
    worth: 12,
    has: ({ rows }) => rows.some((layer) => layer.bytes !== undefined),
    cell: ({ rows }) => bytes(rows.reduce((sum, layer) => sum + (layer.bytes ?? 0), 0)),
  },
]

function facts(preview: ExtractPreview, { paint }: Screen) {
  const { layers, totals, rule, layout, output, resumable, modules, shard, join } = preview
  const free = bytes(output.free)
  return [
    ['to be factored', `${counted(totals.layers, 'layer')}, ${grouped(totals.parameters)} parameters`],
    ...(totals.quantisation === undefined
      ? []
      : [['rounding of the base', plannedText(totals.quantisation, layers)]]),
    ['asked for', guaranteeText(rule)],
    ['output', `${printable(output.path)} (${output.format}, ${layout}, factors in ${output.dtype})`],
    ...namesRow(modules),
    ['size', sizeText(output.bytes, rule, layers.some(isKnown))],
    ['free there', hasRoom(preview) ? free : paintWords(`${free}: not enough`, paint.red)],
    ...(shard === undefined ? [] : shardRows(shard, totals.layers)),
    ...(join === undefined ? [] : joinRows(join, paint)),
    ...(resumable === 0
      ? []
      : [['done already', `${counted(resumable, 'layer')}, by a run that was cut off`]]),
  ]
}

const shardRows = ({ layers, work, mayTakeRounds, ...shard }: PlannedShard, all: number): string[][] => [
  [
    `shard ${shardText(shard)}`,
    layers.length === 0
      ? `none of the ${counted(all, 'layer')}: there are more shards than layers`
      : `${counted(layers.length, 'layer')} of ${grouped(all)}, ${percent(work)} of the work (${firstOf(layers.map(shownName))})`,
  ],
  ...(mayTakeRounds ? [['a second round', ROUNDS_TEXT]] : []),
]

/** Each shard, and whether --join could be given now. */
const joinRows = ({ shards, mayTakeRounds, isReady }: PlannedJoin, paint: Screen['paint']): string[][] => [
  ...shards.map((shard) => [`shard ${shardText(shard)}`, joinedText(shard, paint)]),
  ['--join', isReady ? paintWords('all is there', paint.green) : paintWords('not yet', paint.red)],
  ...(mayTakeRounds ? [['a second round', ROUNDS_TEXT]] : []),
]

function joinedText({ layers, missing, worker, ...shard }: JoinedShard, paint: Screen['paint']): string {
  const done = `${grouped(layers - missing.length)} of ${counted(layers, 'layer')}`
  if (worker !== undefined) return `${done}; ${printable(worker)} is at work`
  if (missing.length === 0) return done
  return `${done}; ${paintWords(`run --shard ${shardText(shard)} again`, paint.red)} (${firstOf(missing.map(shownName))})`
}

/** What the format calls the modules, where that is not as the model has it. */
const namesRow = (modules: ExtractPreview['modules']): string[][] =>
  modules.length === 0
    ? []
    : [
        [
          'its names',
          `${counted(modules.length, 'module')} (${firstOf(modules.map(({ name }) => shownName(name)))})`,
        ],
      ]

function plannedText(
  { share, dtypes, carriedAtMost: carried }: NonNullable<ExtractPreview['totals']['quantisation']>,
  layers: readonly Layer[],
): string {
  const ranks = layers.flatMap(({ quantisation, rank }) =>
    quantisation === undefined || rank === undefined ? [] : [rank],
  )
  const found = { share, dtypes, ...(carried !== undefined && { carried }) }
  return `${quantisationText(found, { ranks, isBound: true })} (by a sample of rows)`
}

function sizeText(size: number | undefined, rule: ExtractPreview['rule'], isPartlyKnown: boolean): string {
  if (size !== undefined) return `${bytes(size)} (${grouped(size)} bytes) in all`
  if (rule.kind === 'budget') return `${bytes(rule.bytes)} at most`
  return isPartlyKnown ? 'not known yet' : 'not known before the ranks are'
}

const notes = ({ warnings, unchanged, totals, gaps }: ExtractPreview, screen: Screen): string[] => [
  ...wholeLines(totals).map((text) => note(text, screen.paint.red, screen)),
  ...gapNotes(gaps, screen),
  ...warningNotes(warnings, screen),
  ...equalNotes(unchanged, screen),
]
