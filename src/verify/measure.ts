import { readFactors } from '../adapter/factors.ts'
import type { AdapterModule } from '../adapter/types.ts'
import type { MatrixPair } from '../checkpoint/types.ts'
import { forEachPanel, panelBytes } from '../delta/difference.ts'
import type { JobContext } from '../jobs/types.ts'
import { type Matrix, rowRange } from '../matrix/matrix.ts'

/** What a worker is asked: plain data. */
export interface MeasureJob {
  readonly pair: MatrixPair
  /** What the adapter adds here; undefined where it adds nothing. */
  readonly module?: AdapterModule
  /** Which matrix of a stack of experts. */
  readonly expert?: number
}

/** Frobenius norms of one matrix, summed in float64. */
export interface Measured {
  readonly delta: number
  /** ‖tuned − base − scale·B·A‖_F. */
  readonly residual: number
  readonly base: number
}

/** Reads base, tuned and factors from disk, and measures what the factors leave. */
export async function measureMatrix(job: MeasureJob, context: JobContext): Promise<Measured> {
  const { pair, module, expert } = job
  if (module === undefined) {
    const { delta, base } = await forEachPanel(pair, () => {})
    return { delta, base, residual: delta }
  }
  const { B, A, scale } = await readFactors(module, expert)
  const scaledB = scaled(B, scale)
  const engine = await context.engine(flopsOf(job))
  let squares = 0
  const { delta, base } = await forEachPanel(pair, (panel, firstRow) => {
    const resident = engine.resident(panel)
    try {
      squares += resident.residualSquared(rowRange(scaledB, firstRow, firstRow + panel.rows), A)
    } finally {
      resident.release()
    }
  })
  return { delta, base, residual: Math.sqrt(squares) }
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
