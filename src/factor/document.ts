import { jsonDocument } from '../report/json.ts'
import type { FactorResult } from './factor.ts'

/** The JSON document of `factor`; its fields are those of schemas/factor-1.json. */
export function factorDocument(result: FactorResult) {
  const { plan, source, rank, dtype, relativeError, optimalError, holds, bytes } = result
  const { rows, columns } = source.matrix
  return jsonDocument('factor', 1, {
    source: { path: plan.input, name: source.name, dtype: source.dtype },
    rule: plan.rule,
    shape: [rows, columns],
    numericalRank: result.numericalRank,
    rank,
    dtype,
    relativeError,
    optimalError,
    holds,
    elements: elementCounts(result),
    output: { path: plan.output, format: plan.format, bytes },
  })
}

export function elementCounts({ source, rank }: FactorResult) {
  const { rows, columns } = source.matrix
  const [W, B, A] = [rows * columns, rows * rank, rank * columns]
  return { W, B, A, factors: B + A, ratio: (B + A) / W }
}
