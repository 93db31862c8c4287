import { readFactors } from '../adapter/factors.ts'
import type { AdapterModule } from '../adapter/types.ts'
import { readWeight } from '../checkpoint/read.ts'
import type { MatrixPair } from '../checkpoint/types.ts'
import type { JobContext } from '../jobs/types.ts'
import type { Matrix } from '../matrix/matrix.ts'
import { nonFiniteEntries } from '../matrix/non-finite.ts'
import { subtract } from '../matrix/subtract.ts'
import { refuseNonFinite } from './non-finite.ts'

/** What a worker is asked: plain data. */
export interface MeasureJob {
  readonly pair: MatrixPair
  /** What the adapter adds here; undefined where it adds nothing. */
  readonly module?: AdapterModule
  /** Which matrix of a stack of experts. */
  readonly expert?: number
  /** As messages call them. */
  readonly paths: { readonly adapter: string; readonly base: string; readonly tuned: string }
}

/** Frobenius norms of one matrix, summed in float64. */
export interface Measured {
  readonly delta: number
  /** ‖tuned − base − scale·B·A‖_F. */
  readonly residual: number
  readonly base: number
}

/**
 * Reads base, tuned and factors from disk, and measures what the factors leave. Throws LoraSvdError `not-finite` on NaN and
 * infinity in any of them.
 */
export async function measureMatrix(job: MeasureJob, context: JobContext): Promise<Measured> {
  const { pair, module, expert, paths } = job
  const { delta, frobenius, nonFinite } = subtract(await readWeight(pair.tuned), await readWeight(pair.base))
  refuseNonFinite(paths.tuned, pair.name, nonFinite.tuned)
  refuseNonFinite(paths.base, pair.name, nonFinite.base)
  const norms = { delta: frobenius.delta, base: frobenius.base }
  if (module === undefined) return { ...norms, residual: frobenius.delta }
  const { B, A, scale } = await readFactors(module, expert)
  refuseNonFinite(paths.adapter, module.B.name, nonFiniteEntries(B))
  refuseNonFinite(paths.adapter, module.A.name, nonFiniteEntries(A))
  const engine = await context.engine(flopsOf(job))
  const resident = engine.resident(delta)
  try {
    return { ...norms, residual: Math.sqrt(resident.residualSquared(scaled(B, scale), A)) }
  } finally {
    resident.release()
  }
}

/** By which engines are chosen: a residual is one product, far less than a decomposition. */
export function flopsOf({ pair: { tuned }, module }: MeasureJob): number {
  return 4 * tuned.rows * tuned.columns * (1 + (module?.rank ?? 0))
}

/** The most memory that a job takes at one time. */
export function bytesOf({ pair: { base, tuned }, module }: MeasureJob): number {
  const { rows, columns } = tuned
  return base.bytes + tuned.bytes + 2 * 4 * rows * columns + 2 * 8 * (rows + columns) * (module?.rank ?? 0)
}

/** scale·B, each entry rounded once to B's own type; float64 unless the scale is 1. */
function scaled({ rows, columns, data }: Matrix, scale: number): Matrix {
  if (scale === 1) return { rows, columns, data }
  return { rows, columns, data: Float64Array.from(data, (x) => x * scale) }
}
