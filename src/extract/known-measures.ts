import { readFactors } from '../adapter/factors.ts'
import { matchToBase } from '../adapter/match.ts'
import type { Adapter } from '../adapter/types.ts'
import { leadingColumns, type Matrix, rowRange } from '../matrix/matrix.ts'
import type { Measured } from '../verify/measure.ts'
import type { ExtractionPlan } from './plan.ts'
import type { Chosen } from './rounds.ts'
import { digestOf } from './stored-factors.ts'

/**
 * What is known of the layers' errors: of those whose factors were measured when they were made, and that lie on disk with
 * these very numbers. The adapter is read as anyone would read it. By the layers' names.
 */
export async function knownMeasures(
  adapter: Adapter,
  { layers, base }: ExtractionPlan,
  { ranks, results }: Chosen,
): Promise<Map<string, Measured>> {
  const modules = new Map(matchToBase(adapter, base).matched.map(({ module }) => [module.baseTensor, module]))
  const known = new Map<string, Measured>()
  for (const [i, { pair, module: planned, expert }] of layers.entries()) {
    const { measured, spectrum, baseFrobenius } = results[i]
    const rank = ranks[i]
    const module = modules.get(pair.base.tensor)
    if (module === undefined || measured === undefined || measured.rank !== rank) continue
    const { B, A, scale } = await readFactors(module, planned.experts > 1 ? expert : undefined)
    const leading = { B: leadingColumns(B, rank), A: rowRange(A, 0, rank) }
    const isSame = scale === 1 && isZeroBeyond(B, A, rank) && digestOf(leading) === measured.digest
    if (!isSame) continue
    known.set(pair.name, { delta: spectrum.frobenius, residual: measured.residual, base: baseFrobenius })
  }
  return known
}

/** Whether the factors are padded with zeros beyond this rank. */
function isZeroBeyond(B: Matrix, A: Matrix, rank: number): boolean {
  if (B.columns < rank || A.data.subarray(rank * A.columns).some((x) => x !== 0)) return false
  for (let i = 0; i < B.rows; i++) {
    for (let j = rank; j < B.columns; j++) if (B.data[i * B.columns + j] !== 0) return false
  }
  return true
}
