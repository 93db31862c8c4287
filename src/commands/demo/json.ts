import { jsonDocument, jsonNumber } from '../../report/json.ts'
import type { DemoResult, WorstEntry } from './notebook.ts'
import type { DemoSettings } from './options.ts'

/** The JSON document of `demo`; its fields are those of schemas/demo-1.json. */
export function demoDocument(result: DemoResult, withMatrices: boolean) {
  const { options, rank, singularValues, allclose, worst, W, B, A, bias, x, yRef, y } = result
  const [d, r, k] = [B.rows, B.columns, A.columns]
  return jsonDocument('demo', 1, {
    options: echo(options),
    rank,
    shapes: { W: [d, k], B: [d, r], A: [r, k], S: [r, r] },
    singularValues,
    allclose,
    ...(!allclose && { worst: worst && entryFields(worst) }),
    maxAbsError: jsonNumber(result.maxAbsError),
    normwiseError: jsonNumber(result.normwiseError),
    relativeError: result.relativeError,
    optimalError: result.optimalError,
    elements: result.elements,
    ...(withMatrices && {
      ...{ W, B, A },
      ...{ bias: Array.from(bias), x: Array.from(x), yRef: Array.from(yRef), y: Array.from(y) },
    }),
  })
}

function echo({ d, k, rank, seed, rng, draw, dtype, rtol, atol, noise, truncate }: DemoSettings) {
  // A seed past 2^53 doesn't fit a JSON number and is written as a string.
  const exactSeed = Number.isSafeInteger(Number(seed)) ? Number(seed) : String(seed)
  return { d, k, rank, seed: exactSeed, rng, draw, dtype, rtol, atol, noise, truncate }
}

const entryFields = ({ index, y, yRef, difference, allowed }: WorstEntry) => ({
  index,
  y: jsonNumber(y),
  yRef: jsonNumber(yRef),
  difference: jsonNumber(difference),
  allowed,
})
