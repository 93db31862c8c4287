import { printable } from '../formats/quote.ts'
import { chooseRank } from '../rank/rules.ts'
import { bytes, grouped, percent, shape, short } from '../report/numbers.ts'
import { spectrumTable } from '../report/spectrum.ts'
import { table, wrap } from '../report/table.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { elementCounts } from './document.ts'
import type { FactorResult } from './factor.ts'

/** The report of `factor`: the spectrum with the cut, then what was kept, lost and written. */
export function factorTables(
  result: FactorResult,
  { paint, columns }: Pick<Terminal, 'paint' | 'columns'>,
): string {
  const { plan, source, S, rank, dtype, relativeError, optimalError, holds } = result
  const { rows, columns: k } = source.matrix
  const elements = elementCounts(result)
  const colour = elements.ratio < 1 ? paint.green : paint.yellow
  const facts = [
    ['matrix', `${printable(source.name)}  ${shape(rows, k)}  ${source.dtype}`],
    ['numerical rank', grouped(result.numericalRank)],
    ['rank kept', paint.cyan(grouped(rank))],
    ['relative error on disk', (holds ? paint.green : paint.red)(short(relativeError))],
    [`best possible at rank ${rank}`, `${short(optimalError.atLeast)} … ${short(optimalError.atMost)}`],
    ['elements of W', grouped(elements.W)],
    ['elements of B + A', `${grouped(elements.factors)} (${colour(percent(elements.ratio))})`],
    ['written', `${printable(plan.output)}  ${bytes(result.bytes)}  ${dtype}`],
  ]
  const lines = [spectrumTable(S, rank, { paint, columns }), table(facts, columns)]
  if (!holds) lines.push(paint.yellow(wrap(brokenPromise(result), columns)))
  return `${lines.join('\n')}\n`
}

function brokenPromise({ plan: { rule, limits }, S, rank, dtype, relativeError }: FactorResult): string {
  const asked =
    rule.kind === 'error'
      ? `an error of ${rule.error}`
      : `an energy of ${rule.kind === 'energy' ? rule.energy : ''}`
  const rankForIt = chooseRank(S, rule)
  const limit =
    (limits.maxRank ?? S.length) < rankForIt
      ? `--max-rank ${limits.maxRank}`
      : `--multiple-of ${limits.multipleOf}`
  const cure =
    rank < rankForIt
      ? `that takes rank ${rankForIt}, and ${limit} allows ${rank}`
      : `the rounding of ${dtype} is larger: use a wider --dtype`
  return `Not reached: ${asked} was asked for, what is on disk has an error of ${short(relativeError)}; ${cure}.`
}
