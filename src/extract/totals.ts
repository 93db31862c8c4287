import { counted, printable } from '../formats/quote.ts'
import { paintWords } from '../report/cells.ts'
import { errorPaint } from '../report/error-paint.ts'
import { bytes, grouped, percent, percentUp, short } from '../report/numbers.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { excessOver, excessPhrase } from './layer-columns.ts'
import { promisedError, promiseText } from './promise.ts'
import type { BudgetSpent, ExtractResult } from './result.ts'

/** Measured, best possible and promised side by side, then what it took: rows of a table of two columns. */
export function totalsRows(result: ExtractResult, paint: Terminal['paint']): string[][] {
  const { totals, rule, saved, notCarried, budget, output, resumed, layers } = result
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
            `${colour(totals.relativeError, promisedError(rule))} over all layers${keptText(totals.relativeError)}`,
          ],
          ['best possible', `${bestText(best)}${above}`],
        ]),
    ['promised', promiseText(rule)],
    ...(saved.length + notCarried.length > 0
      ? [['over all that changed', colour(totals.wholeRelativeError)]]
      : []),
    [
      'parameters',
      `${grouped(totals.adapterParameters)} of ${grouped(totals.parameters)} ${paintWords(`(${percent(totals.ratio)})`, parameters)}`,
    ],
    ...(budget === undefined ? [] : [['budget', budgetText(budget)]]),
    ['read', bytes(totals.bytesRead)],
    [
      'written',
      `${bytes(totals.bytesWritten)} to ${printable(output.path)} (${output.format}, ${result.layout})`,
    ],
    ['files', output.files.map(printable).join(', ')],
    ...(resumed === 0 ? [] : [['taken over', `${counted(resumed, 'layer')} from a run that was cut off`]]),
  ]
}

const keptText = (error: number) => (error < 1 ? `: ${percent(1 - error ** 2)} of ‖Δ‖_F² kept` : '')

function bestText({ atLeast, atMost }: ExtractResult['totals']['optimalError']): string {
  const [low, high] = [short(atLeast), short(atMost)]
  return low === high ? low : `${low} … ${high}`
}

export function budgetText({ bytes: asked, used, couldGain }: BudgetSpent): string {
  const left = asked - used
  if (left <= 0) return `${bytes(used)} of ${bytes(asked)} used`
  const gain = couldGain > 0 ? `at most ${percentUp(couldGain)} of ‖Δ‖_F²` : 'nothing'
  return `${bytes(used)} of ${bytes(asked)} used; the ${bytes(left)} left could have gained ${gain}`
}
