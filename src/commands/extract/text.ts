import type { AdapterFormat } from '../../lora/model.ts'
import type { VerifiedTensor } from '../../measure/measure.ts'
import { errorPaint, figure, paintWords } from '../../report/cells.ts'
import { layerList } from '../../report/layer-list.ts'
import { equalNotes, note, partText, warningNotes } from '../../report/notes.ts'
import { type NamedColumn, namedGrid, table } from '../../report/table.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { addTo } from '../../text/compare.ts'
import { shownName, someTensors } from '../../text/names.ts'
import { bytes, grouped, percent, percentUp, short } from '../../text/numbers.ts'
import { counted, paintLines, printable } from '../../text/quote.ts'
import { wrap } from '../../text/width.ts'
import { gapNotes } from '../gap-text.ts'
import { infiniteErrors, type NotCarriedInWords, notCarriedLines } from '../verify/text.ts'
import { excessOver, excessPhrase, kindColumns, layerColumns } from './layer-columns.ts'
import type { BudgetSpent, ExtractPreview, ExtractResult } from './result.ts'
import {
  brokenName,
  brokenText,
  carriedBy,
  extractVerdict,
  guaranteeAdvice,
  guaranteedError,
  guaranteeText,
  leftText,
  quantisationText,
} from './sentences.ts'

/** Measured, best possible and promised side by side, then what it took: rows of a table of two columns. */
function totalsRows(result: ExtractResult, paint: Terminal['paint']): string[][] {
  const { totals, rule, saved, notCarried, budget, output, resumed, joined, layers } = result
  const colour = (error: number, allowed?: number) =>
    paintWords(Number.isFinite(error) ? short(error) : 'infinite', errorPaint(error, paint, allowed))
  const { optimalError: best } = totals
  const excess = excessOver(totals.relativeError, best)
  const above = excess === undefined ? '' : ` (${excessPhrase(excess)})`
  const parameters = totals.ratio < 1 ? paint.green : paint.yellow
  return [
    ...(layers.length === 0
      ? []
      : [
          [
            'error on disk',
            `${colour(totals.relativeError, guaranteedError(rule))} over all layers${keptText(totals.relativeError)}`,
          ],
          ['best possible', `${bestText(best)}${above}`],
        ]),
    ...(totals.output === undefined || totals.output.layers === 0
      ? []
      : [
          [
            'error of outputs',
            `${colour(totals.output.relativeError, guaranteedError(rule))} over ${totals.output.unweighed.length === 0 ? 'all' : `the ${counted(totals.output.layers, 'layer')} with moments`}, as inputs feel it`,
          ],
          ['best of outputs', bestText(totals.output.optimalError)],
        ]),
    ['promised', `${guaranteeText(rule)}${isFelt(result) ? ', as inputs feel it' : ''}`],
    ...(saved.length + notCarried.length > 0
      ? [['over all that changed', colour(totals.wholeRelativeError)]]
      : []),
    [
      'parameters',
      `${grouped(totals.adapterParameters)} of ${grouped(totals.parameters)} ${paintWords(`(${percent(totals.ratio)})`, parameters)}`,
    ],
    ...(totals.quantisation === undefined
      ? []
      : [
          [
            'rounding of the base',
            quantisationText(totals.quantisation, {
              ranks: layers.flatMap(({ quantisation, rank }) => (quantisation === undefined ? [] : [rank])),
            }),
          ],
        ]),
    ...(budget === undefined ? [] : [['budget', budgetText(budget)]]),
    ['read', bytes(totals.bytesRead)],
    [
      'written',
      `${bytes(totals.bytesWritten)} to ${printable(output.path)} (${output.format}, ${result.layout})`,
    ],
    ['files', output.files.map(printable).join(', ')],
    ...(resumed === 0 ? [] : [['taken over', `${counted(resumed, 'layer')} from a run that was cut off`]]),
    ...(joined === undefined
      ? []
      : [['joined', `${counted(joined.layers, 'layer')} of ${counted(joined.shards, 'shard')}`]]),
  ]
}

/** Whether the promise is about the error of outputs. */
const isFelt = ({ totals: { output }, rule }: ExtractResult) =>
  output !== undefined && (rule.kind === 'energy' || rule.kind === 'error')

const keptText = (error: number) => (error < 1 ? `: ${percent(1 - error ** 2)} of ‖Δ‖_F² kept` : '')

function bestText({ atLeast, atMost }: ExtractResult['totals']['optimalError']): string {
  const [low, high] = [short(atLeast), short(atMost)]
  return low === high ? low : `${low} … ${high}`
}

function budgetText({ bytes: asked, used, couldGain }: BudgetSpent): string {
  const left = asked - used
  if (left <= 0) return `${bytes(used)} of ${bytes(asked)} used`
  const gain = couldGain > 0 ? `at most ${percentUp(couldGain)} of ‖Δ‖_F²` : 'nothing'
  return `${bytes(used)} of ${bytes(asked)} used; the ${bytes(left)} left could have gained ${gain}`
}

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
    [
      paintLines(wrap(sentence(extractVerdict(result)), columns), paint.bold),
      ...guarantees(result, screen),
    ].join('\n'),
    [
      ...notCarriedLines(notCarried.map(inWords(result.output.format)), screen),
      ...notes(result, screen),
    ].join('\n'),
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

/** Broken guarantees told one by one. */
const BROKEN_SHOWN = 10

function guarantees({ broken, holds, rule, layers, totals }: ExtractResult, screen: Screen): string[] {
  const { paint } = screen
  const say = (text: string, colour: (text: string) => string) => note(text, colour, screen)
  if (holds && broken.length === 0) return [say('What was promised holds.', paint.green)]
  const others = broken.length - BROKEN_SHOWN
  const dtypes = [...new Set(layers.map(({ dtype }) => dtype))]
  return [
    ...broken
      .slice(0, BROKEN_SHOWN)
      .map((one) =>
        say(`Not kept: ${shownName(brokenName(one))}: ${printable(brokenText(one))}.`, paint.red),
      ),
    ...(others > 0 ? [say(`Not kept: ${others} more, all with --json.`, paint.red)] : []),
    ...(broken.length > 0 ? [say(guaranteeAdvice(rule, dtypes), paint.yellow)] : []),
    ...wholeLines(totals).map((text) => say(text, paint.red)),
  ]
}

/** A tensor that is not carried, why, and what would carry it. */
export const inWords =
  (format: AdapterFormat) =>
  (left: ExtractPreview['notCarried'][number]): NotCarriedInWords => ({
    ...left,
    reason: leftText(left),
    cure: carriedBy(left, format),
  })

/** That the adapter is not all of the fine-tune, and what to do. */
export function wholeLines(totals: ExtractResult['totals'] | ExtractPreview['totals']): string[] {
  const part = partText(totals)
  if (part === undefined) return []
  return [
    `Not the whole fine-tune: ${part}: --exclude says that this is as it should be, --carry-rest stores what the tuned model alone has.`,
  ]
}

function notes({ warnings, layers, saved, unchanged, gaps }: ExtractResult, screen: Screen): string[] {
  const { paint } = screen
  const open = new Map<string, string[]>()
  for (const { name, openBecause } of layers) if (openBecause !== undefined) addTo(open, openBecause, name)
  return [
    ...infiniteErrors([...layers, ...saved]).map((text) => note(text, paint.red, screen)),
    ...gapNotes(gaps, screen),
    ...warningNotes(warnings, screen),
    ...[...open].map(([reason, names]) =>
      note(
        `The best error is known less closely than it should be: ${printable(reason)}: ${someTensors(names)}.`,
        paint.dim,
        screen,
      ),
    ),
    ...equalNotes(unchanged, screen),
  ]
}
