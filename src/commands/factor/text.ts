import { chooseRank, errorAllowed, type RankRule } from '../../linalg/spectrum/rules.ts'
import { spectrumTable } from '../../report/spectrum.ts'
import { table } from '../../report/table.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { shownName } from '../../text/names.ts'
import { bytes, grouped, percent, shape, short } from '../../text/numbers.ts'
import { printable } from '../../text/quote.ts'
import { wrap } from '../../text/width.ts'
import type { FactorResult } from './factor.ts'

/** The report of `factor`: the spectrum with the cut, then what was kept, lost and written. */
export function factorTables(
  result: FactorResult,
  { paint, columns }: Pick<Terminal, 'paint' | 'columns'>,
): string {
  const {
    source,
    shape: [rows, k],
    rank,
    numericalRank,
    dtype,
    relativeError,
    optimalError,
    holds,
  } = result
  const { elements, output, certificate, singularValues } = result
  const colour = elements.ratio < 1 ? paint.green : paint.yellow
  const facts = [
    ['matrix', `${shownName(source.name)}  ${shape(rows, k)}  ${source.dtype}`],
    ...(numericalRank === undefined ? [] : [['numerical rank', grouped(numericalRank)]]),
    ['rank kept', paint.cyan(grouped(rank))],
    [
      'relative error on disk',
      (holds || result.weighed !== undefined ? paint.green : paint.red)(short(relativeError)),
    ],
    [`best possible at rank ${rank}`, `${short(optimalError.atLeast)} … ${short(optimalError.atMost)}`],
    ...(result.weighed === undefined
      ? []
      : [
          [
            'error of outputs',
            `${(holds ? paint.green : paint.red)(short(result.weighed.relativeError))}; at best ${short(result.weighed.optimalError.atLeast)} … ${short(result.weighed.optimalError.atMost)}`,
          ],
        ]),
    ['elements of W', grouped(elements.W)],
    ['elements of B + A', `${grouped(elements.factors)} (${colour(percent(elements.ratio))})`],
    ['written', `${printable(output.path)}  ${bytes(output.bytes)}  ${dtype}`],
  ]
  const screen = { paint, columns }
  const spectrum = result.complete
    ? spectrumTable(singularValues, rank, screen)
    : spectrumTable(singularValues, rank, screen, result.frobenius)
  const lines = [spectrum, table(facts, columns)]
  if (certificate.reason !== undefined) {
    lines.push(
      paint.dim(wrap(`The interval is not as narrow as it should be: ${certificate.reason}.`, columns)),
    )
  }
  if (!holds) lines.push(paint.yellow(wrap(brokenGuarantee(result), columns)))
  return `${lines.join('\n')}\n`
}

function brokenGuarantee(result: FactorResult): string {
  const { rule, limits, rank, optimalError, dtype, relativeError } = result
  const asked =
    rule.kind === 'rank' ? '' : `${rule.kind === 'error' ? 'an error' : 'an energy'} of ${askedFor(rule)}`
  const best = result.weighed?.optimalError ?? optimalError
  const isOutOfReach = best.atLeast > errorAllowed(rule)
  const limit = rank === limits.maxRank ? `--max-rank ${rank}` : `--multiple-of ${limits.multipleOf}`
  const needed = result.complete ? `rank ${chooseRank(result.singularValues, rule)}` : 'more'
  const cure = isOutOfReach
    ? `that takes ${needed}, and ${limit} allows ${rank}`
    : `the rounding of ${dtype} is larger: use a wider --dtype`
  return `Not reached: ${asked} was asked for, what is on disk has an error of ${short(result.weighed?.relativeError ?? relativeError)}; ${cure}.`
}

const askedFor = (rule: RankRule) =>
  rule.kind === 'error' ? rule.error : rule.kind === 'energy' ? rule.energy : 0

/** The relative error that a rule allows. */
