import { readFactors } from '../adapter/factors.ts'
import { matchToBase } from '../adapter/match.ts'
import type { Adapter } from '../adapter/types.ts'
import type { Matrix } from '../matrix/matrix.ts'
import type { Factors } from '../svd/factors.ts'
import type { Measured } from '../verify/measure.ts'
import type { ExtractOptions } from './options.ts'
import type { ExtractionPlan } from './plan.ts'
import type { Chosen } from './rounds.ts'
import type { RunFolder } from './run-folder.ts'
import { factorsAsStored } from './stored-factors.ts'

/**
 * What is known of the layers' errors: of those whose factors were measured when they were made, and that lie on disk with
 * these very numbers. The adapter is read as anyone would read it. By the layers' names.
 */
export async function knownMeasures(
  adapter: Adapter,
  { layers, base, dtype }: ExtractionPlan,
  { distributeScale }: ExtractOptions,
  { ranks, rounds, results }: Chosen,
  folder: RunFolder,
): Promise<Map<string, Measured>> {
  const modules = new Map(matchToBase(adapter, base).matched.map(({ module }) => [module.baseTensor, module]))
  const known = new Map<string, Measured>()
  for (const [i, { pair, module: planned, expert }] of layers.entries()) {
    const { measured, spectrum, baseFrobenius } = results[i]
    const module = modules.get(pair.base.tensor)
    if (module === undefined || measured === undefined || measured.rank !== ranks[i]) continue
    const { U, V } = await folder.read(rounds[i], i)
    const made = factorsAsStored({ U, S: spectrum.singularValues, V }, ranks[i], { distributeScale, dtype })
    const onDisk = await readFactors(module, planned.experts > 1 ? expert : undefined)
    if (onDisk.scale !== 1 || !isPadded(onDisk, made)) continue
    known.set(pair.name, { delta: spectrum.frobenius, residual: measured.residual, base: baseFrobenius })
  }
  return known
}

/** Whether `stored` holds the numbers of `made` and zeros beyond its rank. */
function isPadded(stored: Factors, made: Factors): boolean {
  const { rows, columns: rank } = made.B
  const { columns } = made.A
  if (stored.B.rows !== rows || stored.A.columns !== columns || stored.B.columns < rank) return false
  const entryOf = (A: Matrix, i: number, j: number) =>
    i < A.rows && j < A.columns ? A.data[i * A.columns + j] : 0
  return (
    hasEntries(stored.B, (i, j) => entryOf(made.B, i, j)) &&
    hasEntries(stored.A, (i, j) => entryOf(made.A, i, j))
  )
}

function hasEntries({ rows, columns, data }: Matrix, expected: (i: number, j: number) => number): boolean {
  for (let at = 0, i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++, at++) if (data[at] !== expected(i, j)) return false
  }
  return true
}
