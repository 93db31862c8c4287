import type { Matrix } from '../../linalg/matrix/matrix.ts'
import { jsonDocument, jsonNumber } from '../../report/json.ts'
import type { DemoOptions } from './demo.ts'
import type { DemoFigures, Notebook } from './notebook.ts'

/** The JSON document of `demo`; its fields are those of schemas/demo-1.json. */
export function demoDocument(
  options: DemoOptions,
  notebook: Notebook,
  figures: DemoFigures,
  withMatrices: boolean,
) {
  const { W, S, B, A, bias, x, yRef, y } = notebook
  const [d, r, k] = [B.flat.rows, B.flat.columns, A.flat.columns]
  const { allclose } = figures.allclose
  return jsonDocument('demo', 1, {
    options: echo(options),
    rank: figures.rank,
    shapes: { W: [d, k], B: [d, r], A: [r, k], S: [r, r] },
    singularValues: S,
    allclose,
    ...(!allclose && { worst: worstEntry(notebook, figures) }),
    maxAbsError: jsonNumber(figures.maxAbsError),
    normwiseError: jsonNumber(figures.normwiseError),
    relativeError: figures.relativeError,
    optimalError: figures.optimalError,
    elements: figures.elements,
    ...(withMatrices && {
      ...{ W: W.flat, B: B.flat, A: A.flat },
      ...{ bias: vector(bias.flat), x: vector(x.flat), yRef: vector(yRef.flat), y: vector(y.flat) },
    }),
  })
}

function echo({ d, k, rank, seed, rng, draw, dtype, rtol, atol, noise, truncate }: DemoOptions) {
  // A seed past 2^53 doesn't fit a JSON number and is written as a string.
  const exactSeed = Number.isSafeInteger(Number(seed)) ? Number(seed) : String(seed)
  return { d, k, rank, seed: exactSeed, rng, draw, dtype, rtol, atol, noise, truncate }
}

const vector = (column: Matrix) => Array.from(column.data)

/** The entry that is farthest from being close, as the report names it. */
export function worstEntry(notebook: Notebook, { allclose: { worst } }: DemoFigures) {
  if (worst === null) return null
  const { index, difference, allowed } = worst
  const [y, yRef] = [notebook.y.flat.data[index], notebook.yRef.flat.data[index]]
  return { index, y: jsonNumber(y), yRef: jsonNumber(yRef), difference: jsonNumber(difference), allowed }
}
