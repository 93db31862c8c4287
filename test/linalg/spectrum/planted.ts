/** Pairs of weights whose change has a known rank, at a known strength beside the rounding of their dtypes. */
import { jsEngine } from '../../../src/engine/js/js-engine.ts'
import { type HalfDtype, narrowHalf, widenHalf } from '../../../src/linalg/matrix/half.ts'
import { type Matrix, matrix, toFloat32, toFloat64 } from '../../../src/linalg/matrix/matrix.ts'
import { addMultiple } from '../../../src/linalg/matrix/norms.ts'
import { roundingVariance } from '../../../src/linalg/spectrum/noise-floor.ts'
import { torchNormals } from '../../../src/random/torch.ts'

export type Dtype = HalfDtype | 'f32'

export interface Pair {
  readonly base: Matrix
  readonly tuned: Matrix
}

export interface Planted {
  readonly ofBase: Dtype
  readonly ofTuned: Dtype
  /** The change starts from the stored base; otherwise from what the base was rounded from. */
  readonly isExact: boolean
  readonly rank: number
  /** Of the weakest direction, in edges of the rounding of both sides; the strongest has twice that. */
  readonly strength: number
  readonly seed: number
}

const DEVIATION = 0.02

export function asStored(A: Matrix, dtype: Dtype): Matrix {
  if (dtype === 'f32') return toFloat64(toFloat32(A))
  return toFloat64(matrix(A.rows, A.columns, widenHalf(narrowHalf(A.data, dtype), dtype)))
}

const normals = (rows: number, columns: number, seed: number) =>
  matrix(rows, columns, torchNormals(seed).normals(rows * columns, 'f64'))

/** About the norm of the rounding of weights in both dtypes. */
function edgeOf({ rows, columns, data }: Matrix, dtypes: readonly Dtype[]): number {
  const energy = dtypes.reduce((sum, dtype) => {
    const { unit, leastExponent } = roundingVariance(dtype)
    const of = (w: number) =>
      unit * 4 ** Math.max(leastExponent, Math.floor(Math.log2(Math.abs(w) || 2 ** -149)))
    return sum + Float64Array.from(data).reduce((all, w) => all + of(w), 0)
  }, 0)
  return Math.sqrt(energy / (rows * columns)) * (Math.sqrt(rows) + Math.sqrt(columns))
}

export function plantedPair(
  rows: number,
  columns: number,
  { ofBase, ofTuned, isExact, rank, strength, seed }: Planted,
): Pair {
  const W = matrix(
    rows,
    columns,
    normals(rows, columns, seed).data.map((x) => DEVIATION * x),
  )
  const base = asStored(W, ofBase)
  const edge = edgeOf(base, [ofBase, ofTuned])
  const U = jsEngine.qr(normals(rows, rank, seed + 1000)).Q
  const V = jsEngine.qr(normals(columns, rank, seed + 2000)).Q
  const strengths = Float64Array.from(
    { length: rank },
    (_, i) => strength * edge * (1 + (rank > 1 ? i / (rank - 1) : 0)),
  )
  const scaled = matrix(
    rows,
    rank,
    U.data.map((x, at) => x * strengths[at % rank]),
  )
  const change = jsEngine.multiply(scaled, V, { transposeB: true })
  const from = isExact ? base : W
  return { base, tuned: asStored(addMultiple(from, change, 1), ofTuned) }
}
