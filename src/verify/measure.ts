import { readFactors } from '../adapter/factors.ts'
import type { AdapterModule } from '../adapter/types.ts'
import type { MatrixPair } from '../checkpoint/types.ts'
import { forEachPanel, nonFiniteOf, panelBytes } from '../delta/difference.ts'
import { assertInRange } from '../formats/finite.ts'
import type { JobContext } from '../jobs/types.ts'
import { frobeniusNorm } from '../matrix/arithmetic.ts'
import { type Matrix, rowRange } from '../matrix/matrix.ts'
import { nonFiniteEntries } from '../matrix/non-finite.ts'
import { isSquarable, relativeResidual } from '../matrix/residual.ts'
import type { Difference } from '../matrix/subtract.ts'
import { refuseNonFinite } from './non-finite.ts'

/** What a worker is asked: plain data. */
export interface MeasureJob {
  readonly pair: MatrixPair
  /** What the adapter adds here; undefined where it adds nothing. */
  readonly module?: AdapterModule
  /** Which matrix of a stack of experts. */
  readonly expert?: number
  /** It was asked to leave this out: entries that are no numbers stop nothing. */
  readonly isLeftOut?: boolean
  /** As messages call the three. */
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
  const { pair, module, expert, paths, isLeftOut = false } = job
  if (module === undefined) {
    const frobenius = await forEachPanel(pair, () => {})
    if (!isLeftOut) await assertFinite(pair, frobenius, paths)
    return { delta: frobenius.delta, base: frobenius.base, residual: frobenius.delta }
  }
  const { B, A, scale } = await readFactors(module, expert)
  refuseNonFinite(paths.adapter, module.B.name, nonFiniteEntries(B))
  refuseNonFinite(paths.adapter, module.A.name, nonFiniteEntries(A))
  const scaledB = scaled(B, scale)
  assertInRange([scaledB.data], { file: paths.adapter, tensor: module.B.name })
  const engine = await context.engine(flopsOf(job))
  let squares = 0
  let extreme = 0
  const frobenius = await forEachPanel(pair, (panel, firstRow) => {
    const rows = rowRange(scaledB, firstRow, firstRow + panel.rows)
    const norm = panel.data instanceof Float64Array ? frobeniusNorm(panel.data) : 1
    if (norm > 0 && !isSquarable(norm)) {
      extreme = Math.hypot(extreme, relativeResidual(panel, rows, A) * norm)
      return
    }
    const resident = engine.resident(panel)
    try {
      squares += resident.residualSquared(rows, A)
    } finally {
      resident.release()
    }
  })
  await assertFinite(pair, frobenius, paths)
  const residual = extreme === 0 ? Math.sqrt(squares) : Math.hypot(extreme, Math.sqrt(squares))
  assertInRange([[frobenius.base, frobenius.delta, residual]], { file: paths.adapter, tensor: module.B.name })
  return { delta: frobenius.delta, base: frobenius.base, residual }
}

async function assertFinite(
  pair: MatrixPair,
  frobenius: Difference['frobenius'],
  paths: MeasureJob['paths'],
): Promise<void> {
  const found = await nonFiniteOf(pair, frobenius)
  refuseNonFinite(paths.tuned, pair.name, found.tuned)
  refuseNonFinite(paths.base, pair.name, found.base)
}

/** By which engines are chosen: a residual is one product, far less than a decomposition. */
export function flopsOf({ pair: { tuned }, module }: MeasureJob): number {
  return 4 * tuned.rows * tuned.columns * (1 + (module?.rank ?? 0))
}

/** The most memory that a job takes at one time. */
export function bytesOf({ pair, module }: MeasureJob): number {
  const { rows, columns } = pair.tuned
  // the panel again, where the engine works on it, and its product in float64
  return 4 * panelBytes(pair) + 3 * 8 * (rows + columns) * (module?.rank ?? 0)
}

/** scale·B, each entry rounded once to B's own type; float64 unless the scale is 1. */
function scaled({ rows, columns, data }: Matrix, scale: number): Matrix {
  if (scale === 1) return { rows, columns, data }
  return { rows, columns, data: Float64Array.from(data, (x) => x * scale) }
}
