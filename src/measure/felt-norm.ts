import type { Engine } from '../linalg/engine.ts'
import { type Matrix, matrix, transpose, zeros } from '../linalg/matrix/matrix.ts'
import { weighedNorm } from '../linalg/weighting/weigh.ts'
import { rootOfMoments } from '../moments/root.ts'
import type { LayerMoments } from '../moments/types.ts'

/** ‖Δ·R‖_F and ‖(Δ − B·A)·R‖_F, added up panel by panel in float64. */
export interface FeltNorm {
  /** Adds rows of Δ, from this one on, with their rows of B. */
  add(panel: Matrix, B: Matrix, A: Matrix, firstRow: number): void
  norms(): { readonly delta: number; readonly residual: number }
}

/**
 * In the norm of a layer's inputs. Of a weight that is stored [in, out] the rows are the inputs: all of them are gathered first. Throws as
 * `rootOfMoments` does.
 */
export async function feltNorm(moments: LayerMoments, engine: Engine, rows: number): Promise<FeltNorm> {
  const root = await rootOfMoments(moments, engine)
  const sums = { delta: 0, residual: 0 }
  const measure = (delta: Matrix, rest: Matrix) => {
    sums.delta = Math.hypot(sums.delta, weighedNorm(engine, delta, root))
    sums.residual = Math.hypot(sums.residual, weighedNorm(engine, rest, root))
  }
  const norms = () => sums
  if (moments.side === 'columns') {
    return { add: (panel, B, A) => measure(panel, difference(engine, panel, B, A)), norms }
  }
  const gathered: { delta?: Matrix; rest?: Matrix } = {}
  return {
    add: (panel, B, A, firstRow) => {
      gathered.delta ??= zeros(rows, panel.columns)
      gathered.rest ??= zeros(rows, panel.columns)
      gathered.delta.data.set(panel.data, firstRow * panel.columns)
      gathered.rest.data.set(difference(engine, panel, B, A).data, firstRow * panel.columns)
    },
    norms: () => {
      const { delta, rest } = gathered
      if (delta !== undefined && rest !== undefined) measure(transpose(delta), transpose(rest))
      return sums
    },
  }
}

/** X − B·A in float64. */
function difference(engine: Engine, X: Matrix, B: Matrix, A: Matrix): Matrix {
  const wide = { ...B, data: Float64Array.from(B.data) }
  const product = engine.multiply(wide, A)
  return matrix(
    X.rows,
    X.columns,
    Float64Array.from(X.data, (x, i) => x - product.data[i]),
  )
}
