import type { ConvertedLayer, DifferenceTotals, LoaderGap } from '../../convert/convert.ts'
import type { Dropped } from '../../convert/target.ts'
import { figure } from '../../report/cells.ts'
import { countColumn, layerList, type Projection, spanText } from '../../report/layer-list.ts'
import { note, warningNotes } from '../../report/notes.ts'
import { type NamedColumn, namedGrid, table } from '../../report/table.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { firstOf, shownName } from '../../text/names.ts'
import { bytes, grouped, shape, short } from '../../text/numbers.ts'
import { counted, paintLines, printable } from '../../text/quote.ts'
import { wrap } from '../../text/width.ts'
import { gapNotes } from '../gap-text.ts'
import type { ConvertPreview, ConvertResult } from './convert.ts'

type Screen = Pick<Terminal, 'paint' | 'columns'>

/** The report of `convert`: each layer, what it came to, and what loaders make of it. */
export function convertTables(result: ConvertResult, screen: Screen): string {
  const { source, layers, from, format, seconds } = result
  const sections = [
    title(
      `lora-svd convert: ${printable(source.adapter)}, ${from} → ${format}`,
      `${counted(layers.length, 'layer')} · ${short(seconds, 2)} s`,
      screen,
    ),
    ...(layers.length === 0 ? [] : layerList(layers, layerColumns, kindColumns, screen)),
    totals(result, screen),
    notes(result, screen),
  ]
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`
}

function title(head: string, facts: string, { paint, columns }: Screen): string {
  return `${paintLines(wrap(head, columns), paint.bold)}\n${paint.dim(wrap(facts, columns))}`
}

const differenceText = ({ isExact, relativeError }: ConvertedLayer) =>
  isExact ? 'exact' : figure(relativeError)

/** In the place of a rank. */
const WHOLE = 'whole'

const rankText = ({ form, rankBefore, rank }: ConvertedLayer) =>
  form === 'difference'
    ? WHOLE
    : rankBefore === rank
      ? grouped(rank)
      : `${grouped(rankBefore)} in ${grouped(rank)}`

function ranksText(rows: readonly ConvertedLayer[]): string {
  const ranks = rows.flatMap(({ form, rank }) => (form === 'factors' ? [rank] : []))
  const span = ranks.length === 0 ? [] : [spanText(ranks, grouped)]
  return [...span, ...(ranks.length < rows.length ? [WHOLE] : [])].join(', ')
}

const layerColumns: NamedColumn<ConvertedLayer>[] = [
  { title: 'shape', align: 'right', worth: 6, cell: ({ shape: [rows, columns] }) => shape(rows, columns) },
  { title: 'rank', align: 'right', worth: 13, cell: (layer, paint) => paint.cyan(rankText(layer)) },
  {
    title: 'difference',
    align: 'right',
    worth: Number.POSITIVE_INFINITY,
    legend: '‖stored − meant‖_F / ‖meant‖_F, read back from disk',
    cell: (layer, paint) => (layer.isExact ? paint.green : paint.yellow)(differenceText(layer)),
  },
]

const kindColumns: NamedColumn<Projection<ConvertedLayer>>[] = [
  countColumn,
  {
    title: 'rank',
    align: 'right',
    worth: 13,
    cell: ({ rows }, paint) => paint.cyan(ranksText(rows)),
  },
  {
    title: 'difference',
    align: 'right',
    worth: Number.POSITIVE_INFINITY,
    legend: 'the largest ‖stored − meant‖_F / ‖meant‖_F, read back from disk',
    cell: ({ rows }, paint) =>
      rows.every(({ isExact }) => isExact)
        ? paint.green('exact')
        : paint.yellow(figure(Math.max(...rows.map(({ relativeError }) => relativeError)))),
  },
]

function totals(result: ConvertResult, { columns }: Screen): string {
  const { isExact, largestError, dtype, totals, differences, output } = result
  return table(
    [
      [
        'change',
        isExact
          ? 'exact: the same number for number'
          : `the same but for rounding to ${dtype}: at most ${figure(largestError)} of a layer`,
      ],
      ...(totals.modules === 0 && differences.modules > 0
        ? []
        : [
            [
              'modules',
              `${counted(totals.modules, 'pair')} of factors of rank ${grouped(totals.rank)}, ${dtype}`,
            ],
          ]),
      ...(differences.modules === 0
        ? []
        : [
            ['whole', `${counted(differences.modules, 'difference')}, ${bytes(differences.bytes)}, ${dtype}`],
          ]),
      ['output', `${printable(output.path)}, ${bytes(output.bytes)} (from ${bytes(totals.bytesBefore)})`],
    ],
    columns,
  )
}

interface Noted {
  readonly differences: DifferenceTotals
  readonly dropped: readonly Dropped[]
  readonly gaps: readonly LoaderGap[]
  readonly warnings: readonly string[]
}

function notes({ differences, dropped, gaps, warnings }: Noted, screen: Screen): string {
  return [
    ...differenceNotes(differences, screen),
    ...droppedNotes(dropped, screen),
    ...gapNotes(gaps, screen),
    ...warningNotes(warnings, screen),
  ].join('\n')
}

function differenceNotes({ modules, bytes: size }: DifferenceTotals, screen: Screen): string[] {
  if (modules === 0) return []
  const [written, they] = modules === 1 ? ['is written', 'it is'] : ['are written', 'they are']
  return [
    note(
      `${counted(modules, 'module')} ${written} whole, as .diff of ${bytes(size)}, because ${they} DoRA, of whose own tensors ComfyUI makes another weight; apply to the base and extract --rank of the result make a smaller file, with an error.`,
      screen.paint.yellow,
      screen,
    ),
  ]
}

function droppedNotes(dropped: readonly Dropped[], screen: Screen): string[] {
  const byReason = new Map<string, string[]>()
  for (const { name, reason } of dropped)
    byReason.set(reason, [...(byReason.get(reason) ?? []), shownName(name)])
  return [...byReason].map(([reason, names]) =>
    note(`Left out: ${firstOf(names)}: ${reason}.`, screen.paint.red, screen),
  )
}

/** What `convert --dry-run` says. */
export function convertPlanTables(preview: ConvertPreview, screen: Screen): string {
  const { source, from, format, modules, output, dtype } = preview
  const columns: NamedColumn<ConvertPreview['modules'][number]>[] = [
    {
      title: 'rank',
      align: 'right',
      worth: 13,
      cell: ({ form, rank, storedRank }, paint) =>
        paint.cyan(
          form === 'difference'
            ? WHOLE
            : rank === storedRank
              ? grouped(rank)
              : `${grouped(rank)} in ${grouped(storedRank)}`,
        ),
    },
    { title: 'of', align: 'left', worth: 8, cell: ({ weights }) => firstOf(weights.map(shownName)) },
  ]
  const sections = [
    title(
      `lora-svd convert --dry-run: ${printable(source.adapter)}, ${from} → ${format}`,
      `${counted(modules.length, 'module')}, ${dtype}`,
      screen,
    ),
    modules.length === 0 ? '' : namedGrid(modules, columns, screen, { title: 'module' }),
    table(
      [['output', `${printable(output.path)}, ${bytes(output.bytes)}, of ${bytes(output.free)} free`]],
      screen.columns,
    ),
    notes(preview, screen),
  ]
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`
}
