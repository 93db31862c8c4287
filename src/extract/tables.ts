import { addTo } from '../checkpoint/group.ts'
import { counted, printable } from '../formats/quote.ts'
import { figure } from '../report/cells.ts'
import { errorPaint } from '../report/error-paint.ts'
import { layerList } from '../report/layer-list.ts'
import { partText } from '../report/matching.ts'
import { type NamedColumn, namedGrid } from '../report/named-grid.ts'
import { shownName } from '../report/names.ts'
import { short } from '../report/numbers.ts'
import { table, wrap } from '../report/table.ts'
import { paintLines, someTensors } from '../report/text.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { notCarriedLines } from '../verify/not-carried.ts'
import type { VerifiedTensor } from '../verify/result.ts'
import { infiniteErrors } from '../verify/tables.ts'
import { carriedBy } from './advice.ts'
import { kindColumns, layerColumns } from './layer-columns.ts'
import { promiseAdvice } from './promise.ts'
import type { ExtractPreview, ExtractResult } from './result.ts'
import { totalsRows } from './totals.ts'

type Screen = Pick<Terminal, 'paint' | 'columns'>

/** The report of `extract`: each layer, what is stored whole, the totals, the verdict, and what to know besides. */
export function extractTables(result: ExtractResult, screen: Screen): string {
  const { layers, saved, notCarried } = result
  const { paint, columns } = screen
  const sections = [
    title(result, screen),
    ...(layers.length > 0 ? layerList(layers, layerColumns, kindColumns, screen) : []),
    ...(saved.length > 0 ? [`${paint.bold('Stored whole')}\n${namedGrid(saved, wholeColumns, screen)}`] : []),
    table(totalsRows(result, paint), columns),
    [paintLines(wrap(sentence(result.verdict), columns), paint.bold), ...promises(result, screen)].join('\n'),
    [...notCarriedLines(notCarried, screen, carriedBy), ...notes(result, screen)].join('\n'),
  ]
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`
}

const sentence = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`

function title({ source, layers, engine, seconds }: ExtractResult, { paint, columns }: Screen): string {
  const head = `lora-svd extract: ${printable(source.tuned)} − ${printable(source.base)}`
  const facts = `${counted(layers.length, 'layer')} · ${short(seconds, 2)} s on ${engine}`
  return `${paintLines(wrap(head, columns), paint.bold)}\n${paint.dim(wrap(facts, columns))}`
}

const wholeColumns: readonly NamedColumn<VerifiedTensor>[] = [
  {
    title: 'error',
    align: 'right',
    worth: Number.POSITIVE_INFINITY,
    cell: ({ relativeError }, paint) => errorPaint(relativeError, paint)(figure(relativeError)),
  },
  { title: '‖Δ‖_F', align: 'right', worth: 9, cell: ({ deltaFrobenius }) => figure(deltaFrobenius) },
]

/** Broken promises told one by one. */
const BROKEN_SHOWN = 10

function promises(
  { broken, holds, rule, layers, totals }: ExtractResult,
  { paint, columns }: Screen,
): string[] {
  const say = (text: string, colour: (text: string) => string) => paintLines(wrap(text, columns), colour)
  if (holds && broken.length === 0) return [say('What was promised holds.', paint.green)]
  const others = broken.length - BROKEN_SHOWN
  const dtypes = [...new Set(layers.map(({ dtype }) => dtype))]
  return [
    ...broken
      .slice(0, BROKEN_SHOWN)
      .map(({ name, text }) => say(`Not kept: ${shownName(name)}: ${printable(text)}.`, paint.red)),
    ...(others > 0 ? [say(`Not kept: ${others} more, all with --json.`, paint.red)] : []),
    ...(broken.length > 0 ? [say(promiseAdvice(rule, dtypes), paint.yellow)] : []),
    ...wholeLines(totals).map((text) => say(text, paint.red)),
  ]
}

/** That the adapter is not all of the fine-tune, and what to do. */
export function wholeLines(totals: ExtractResult['totals'] | ExtractPreview['totals']): string[] {
  const part = partText(totals)
  if (part === undefined) return []
  return [
    `Not the whole fine-tune: ${part}: --exclude says that this is as it should be, --carry-rest stores what the tuned model alone has.`,
  ]
}

function notes({ warnings, layers, saved, unchanged }: ExtractResult, { paint, columns }: Screen): string[] {
  const say = (text: string, colour: (text: string) => string) => paintLines(wrap(text, columns), colour)
  const open = new Map<string, string[]>()
  for (const { name, openBecause } of layers) if (openBecause !== undefined) addTo(open, openBecause, name)
  return [
    ...infiniteErrors([...layers, ...saved]).map((text) => say(text, paint.red)),
    ...warnings.map((warning) => say(`Warning: ${printable(warning)}`, paint.yellow)),
    ...[...open].map(([reason, names]) =>
      say(
        `The best error is known less closely than it should be: ${printable(reason)}: ${someTensors(names)}.`,
        paint.dim,
      ),
    ),
    ...(unchanged.length === 0 ? [] : [say(`Equal in both: ${someTensors(unchanged)}.`, paint.dim)]),
  ]
}
