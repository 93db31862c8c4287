import { widened } from '../../matrix/half.ts'
import { type Matrix, matrix, toFloat64 } from '../../matrix/matrix.ts'
import type { HalfMatrix, ResidentMatrix } from '../engine.ts'
import { checkInner, multiply } from './multiply.ts'

/** The oracle's resident matrix: the entries in float64, every method by plain loops. */
export function resident(A: Matrix | HalfMatrix): ResidentMatrix {
  let entries: Matrix<Float64Array> | undefined = toFloat64(widened(A))

  function held(): Matrix<Float64Array> {
    if (entries === undefined) throw new Error('this resident matrix has been released')
    return entries
  }

  return {
    rows: A.rows,
    columns: A.columns,
    multiply: (X) => inTypeOf(X, multiply(held(), X)),
    multiplyTransposed: (Y) => inTypeOf(Y, multiply(held(), Y, { transposeA: true })),
    multiplyNormal: (X) => inTypeOf(X, multiply(held(), multiply(held(), X), { transposeA: true })),
    frobeniusSquared: () => held().data.reduce((sum, a) => sum + a * a, 0),
    residualSquared(B, C) {
      checkResidual(held(), B, C)
      const product = multiply(toFloat64(B), toFloat64(C))
      return held().data.reduce((sum, a, i) => sum + (a - product.data[i]) ** 2, 0)
    },
    release() {
      entries = undefined
    },
  }
}

/** Throws RangeError unless B·C has the shape of A. */
export function checkResidual(A: { rows: number; columns: number }, B: Matrix, C: Matrix): void {
  checkInner(B.columns, C.rows)
  if (A.rows === B.rows && A.columns === C.columns) return
  throw new RangeError(`can't subtract a ${B.rows}×${C.columns} product from a ${A.rows}×${A.columns} matrix`)
}

/** The result in the float type of the operand it came from. */
function inTypeOf(X: Matrix, result: Matrix): Matrix {
  if (X.data instanceof Float64Array) return result
  return matrix(result.rows, result.columns, Float32Array.from(result.data))
}
