import { floatType } from '../../linalg/matrix/matrix.ts'
import { epsilonOf, numericalRank } from '../../linalg/spectrum/ranks.ts'
import type { TruncatedSvd } from '../../linalg/truncation/types.ts'
import { jsonDocument, jsonNumber } from '../../report/json.ts'
import type { FactorResult } from './factor.ts'

/** The JSON document of `factor`; its fields are those of schemas/factor-1.json. */
export function factorDocument(result: FactorResult) {
  const { plan, source, engine, truncation, dtype, relativeError, holds, bytes } = result
  const { rank, optimalError, method } = truncation
  const complete = wholeSpectrum(result)
  const { rows, columns } = source.matrix
  return jsonDocument('factor', 1, {
    source: { path: plan.input, name: source.name, dtype: source.dtype },
    rule: plan.rule,
    shape: [rows, columns],
    rank,
    ...(complete && { numericalRank: complete.numericalRank }),
    dtype,
    relativeError,
    optimalError,
    certificate: certificateOf(truncation),
    method,
    engine,
    holds,
    elements: elementCounts(result),
    output: { path: plan.output, format: plan.format, bytes },
  })
}

function certificateOf({ certificate }: TruncatedSvd) {
  const { kind, failureProbability, closed, spectral, reason } = certificate
  const { atLeast, atMost } = spectral
  const bounds = { atLeast: jsonNumber(atLeast), atMost: jsonNumber(atMost) }
  return { kind, failureProbability, closed, spectral: bounds, ...(reason !== undefined && { reason }) }
}

/** All singular values with what only they tell; undefined where only the leading ones are known. */
export function wholeSpectrum({ source: { matrix: W }, truncation: { spectrum } }: FactorResult) {
  if (spectrum === undefined) return undefined
  const epsilon = epsilonOf[floatType(W)]
  return { S: spectrum, numericalRank: numericalRank(spectrum, W.rows, W.columns, epsilon) }
}

export function elementCounts({ source, truncation: { rank } }: FactorResult) {
  const { rows, columns } = source.matrix
  const [W, B, A] = [rows * columns, rows * rank, rank * columns]
  return { W, B, A, factors: B + A, ratio: (B + A) / W }
}
