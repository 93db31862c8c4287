import { allowedTail, chooseRank, type RankRule } from '../../linalg/spectrum/rules.ts'
import { spectrumTable } from '../../report/spectrum.ts'
import { table } from '../../report/table.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { shownName } from '../../text/names.ts'
import { bytes, grouped, percent, shape, short } from '../../text/numbers.ts'
import { printable } from '../../text/quote.ts'
import { wrap } from '../../text/width.ts'
import { elementCounts, wholeSpectrum } from './document.ts'
import type { FactorResult } from './factor.ts'

/** The report of `factor`: the spectrum with the cut, then what was kept, lost and written. */
export function factorTables(
  result: FactorResult,
  { paint, columns }: Pick<Terminal, 'paint' | 'columns'>,
): string {
  const { plan, source, truncation, dtype, relativeError, holds } = result
  const { rank, S, frobenius, optimalError } = truncation
  const complete = wholeSpectrum(result)
  const { rows, columns: k } = source.matrix
  const elements = elementCounts(result)
  const colour = elements.ratio < 1 ? paint.green : paint.yellow
  const facts = [
    ['matrix', `${shownName(source.name)}  ${shape(rows, k)}  ${source.dtype}`],
    ...(complete ? [['numerical rank', grouped(complete.numericalRank)]] : []),
    ['rank kept', paint.cyan(grouped(rank))],
    ['relative error on disk', (holds ? paint.green : paint.red)(short(relativeError))],
    [`best possible at rank ${rank}`, `${short(optimalError.atLeast)} … ${short(optimalError.atMost)}`],
    ['elements of W', grouped(elements.W)],
    ['elements of B + A', `${grouped(elements.factors)} (${colour(percent(elements.ratio))})`],
    ['written', `${printable(plan.output)}  ${bytes(result.bytes)}  ${dtype}`],
  ]
  const spectrum = complete
    ? spectrumTable(complete.S, rank, { paint, columns })
    : spectrumTable(S, rank, { paint, columns }, frobenius)
  const lines = [spectrum, table(facts, columns)]
  if (truncation.certificate.reason !== undefined) {
    lines.push(
      paint.dim(
        wrap(`The interval is not as narrow as it should be: ${truncation.certificate.reason}.`, columns),
      ),
    )
  }
  if (!holds) lines.push(paint.yellow(wrap(brokenPromise(result), columns)))
  return `${lines.join('\n')}\n`
}

function brokenPromise(result: FactorResult): string {
  const { plan, truncation, dtype, relativeError } = result
  const { rule, limits } = plan
  const { rank, optimalError, spectrum } = truncation
  const asked =
    rule.kind === 'rank' ? '' : `${rule.kind === 'error' ? 'an error' : 'an energy'} of ${askedFor(rule)}`
  const isOutOfReach = optimalError.atLeast > errorAsked(rule)
  const limit = rank === limits.maxRank ? `--max-rank ${rank}` : `--multiple-of ${limits.multipleOf}`
  const needed = spectrum === undefined ? 'more' : `rank ${chooseRank(spectrum, rule)}`
  const cure = isOutOfReach
    ? `that takes ${needed}, and ${limit} allows ${rank}`
    : `the rounding of ${dtype} is larger: use a wider --dtype`
  return `Not reached: ${asked} was asked for, what is on disk has an error of ${short(relativeError)}; ${cure}.`
}

const askedFor = (rule: RankRule) =>
  rule.kind === 'error' ? rule.error : rule.kind === 'energy' ? rule.energy : 0

/** The relative error that a rule allows. */
const errorAsked = (rule: RankRule): number => Math.sqrt(allowedTail(rule))
