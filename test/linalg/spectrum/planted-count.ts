import { narrowHalf } from '../../../src/linalg/matrix/half.ts'
import { type Matrix, toFloat32 } from '../../../src/linalg/matrix/matrix.ts'
import { addMultiple } from '../../../src/linalg/matrix/norms.ts'
import { noiseFloor, type StoredWeight } from '../../../src/linalg/spectrum/noise-floor.ts'
import { leadingValues, settledFloor } from '../../../src/linalg/spectrum/settled-floor.ts'
import { wasmEngine } from '../truncation/engines.ts'
import type { Dtype, Pair } from './planted.ts'

const stored = (A: Matrix, dtype: Dtype): StoredWeight =>
  dtype === 'f32'
    ? { matrix: toFloat32(A), dtype }
    : { matrix: { rows: A.rows, columns: A.columns, dtype, data: narrowHalf(A.data, dtype) }, dtype }

/** How many directions of the change stand above the floor that the dtypes give, and above the settled one. */
export function counted({ base, tuned }: Pair, ofBase: Dtype, ofTuned: Dtype) {
  const noise = noiseFloor(stored(base, ofBase), stored(tuned, ofTuned))
  const S = wasmEngine.svd(addMultiple(tuned, base, -1), 'none').S
  const energy = S.reduce((sum, s) => sum + s * s, 0)
  const known = leadingValues(base.rows, base.columns, energy, S)
  return { plain: known.above(noise.floor), settled: known.above(settledFloor(noise, known)), noise }
}
