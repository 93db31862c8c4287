import type { HalfMatrix, ResidentMatrix } from '../../linalg/engine.ts'
import { widened } from '../../linalg/matrix/half.ts'
import { type Float64Matrix, type Matrix, rowRange, toFloat64 } from '../../linalg/matrix/matrix.ts'
import { checkInner, checkResidual, roomOf } from '../js/js-engine.ts'
import { type FloatType, floatTypeOf, forEachPanel, panelRows, updateProduct } from './products.ts'
import type { Lapack } from './symbols.ts'

/** OpenBLAS copies A into panels for every product: 8 columns take two thirds of the time of 24, 32 hardly more (Zen 4). */
const LEAST_COLUMNS = 24

/**
 * A kept for many products. Float32 and float64 arrays are kept as they are, without a copy, and must not change until
 * `release`; half precision is widened once, to twice its memory. Where the types of A and the operand differ, panels of
 * rows are widened as they are used, so that no second A is ever held.
 */
export function resident(lapack: Lapack, A: Matrix | HalfMatrix): ResidentMatrix {
  let entries: Matrix | undefined = widened(A)

  function held(): Matrix {
    if (entries === undefined) throw new Error('this resident matrix has been released')
    return entries
  }

  return {
    rows: A.rows,
    columns: A.columns,
    leastColumns: LEAST_COLUMNS,
    multiply: (X) => multiplyHeld(lapack, held(), X),
    multiplyTransposed: (Y) => multiplyTransposed(lapack, held(), Y),
    multiplyNormal: (X) => multiplyNormal(lapack, held(), X),
    frobeniusSquared: () => sumOfSquares(held()),
    residualSquared(B, C) {
      checkResidual(held(), B, C)
      return residualSquared(lapack, held(), toFloat64(B), toFloat64(C))
    },
    room: roomOf,
    release() {
      entries = undefined
    },
  }
}

function multiplyHeld(lapack: Lapack, A: Matrix, X: Matrix): Matrix {
  checkInner(A.columns, X.rows)
  return inCommonType(A, X, (wideX, type) => {
    const AX = zerosOf(type, A.rows, X.columns)
    forEachPanel(A, type, (panel, first) => {
      updateProduct(lapack, 'C = T', rowRange(AX, first, first + panel.rows), panel, wideX)
    })
    return AX
  })
}

function multiplyTransposed(lapack: Lapack, A: Matrix, Y: Matrix): Matrix {
  checkInner(A.rows, Y.rows)
  return inCommonType(A, Y, (wideY, type) => {
    const AtY = zerosOf(type, A.columns, Y.columns)
    forEachPanel(A, type, (panel, first) => {
      updateProduct(lapack, 'C += T', AtY, panel, rowRange(wideY, first, first + panel.rows), {
        transposeA: true,
      })
    })
    return AtY
  })
}

/** Both products with a panel while it is in cache, so that A is read from memory once. */
function multiplyNormal(lapack: Lapack, A: Matrix, X: Matrix): Matrix {
  checkInner(A.columns, X.rows)
  return inCommonType(A, X, (wideX, type) => {
    const normal = zerosOf(type, A.columns, X.columns)
    forEachPanel(A, type, (panel) => {
      const product = zerosOf(type, panel.rows, X.columns)
      updateProduct(lapack, 'C = T', product, panel, wideX)
      updateProduct(lapack, 'C += T', normal, panel, product, { transposeA: true })
    })
    return normal
  })
}

/** Each panel of B·C is formed in float64 and compared with A's, which is read as it is stored. */
function residualSquared(lapack: Lapack, A: Matrix, B: Float64Matrix, C: Float64Matrix): number {
  const step = panelRows(A, Float64Array)
  const room = new Float64Array(Math.min(step, A.rows) * A.columns)
  let sum = 0
  for (let first = 0; first < A.rows; first += step) {
    const panel = rowRange(A, first, Math.min(A.rows, first + step))
    const product = { ...panel, data: room.subarray(0, panel.data.length) }
    updateProduct(lapack, 'C = T', product, rowRange(B, first, first + panel.rows), C)
    sum += squaredDistance(panel, product)
  }
  return sum
}

/** ‖A − B‖_F², summed as `sumOfSquares` does. */
function squaredDistance({ rows, columns, data }: Matrix, { data: other }: Matrix): number {
  let total = 0
  for (let i = 0; i < rows; i++) {
    let a = 0
    let b = 0
    let c = 0
    let d = 0
    const end = (i + 1) * columns
    let at = i * columns
    for (; at + 4 <= end; at += 4) {
      const w = data[at] - other[at]
      const x = data[at + 1] - other[at + 1]
      const y = data[at + 2] - other[at + 2]
      const z = data[at + 3] - other[at + 3]
      a += w * w
      b += x * x
      c += y * y
      d += z * z
    }
    for (; at < end; at++) a += (data[at] - other[at]) * (data[at] - other[at])
    total += a + b + (c + d)
  }
  return total
}

/** The squares summed in float64, row by row, then the rows: short sums lose less to rounding than a long one. */
function sumOfSquares({ rows, columns, data }: Matrix): number {
  let total = 0
  for (let i = 0; i < rows; i++) {
    // Four sums at once, as one alone waits for its last addition at every step; each entry is loaded once.
    let a = 0
    let b = 0
    let c = 0
    let d = 0
    const end = (i + 1) * columns
    let at = i * columns
    for (; at + 4 <= end; at += 4) {
      const w = data[at]
      const x = data[at + 1]
      const y = data[at + 2]
      const z = data[at + 3]
      a += w * w
      b += x * x
      c += y * y
      d += z * z
    }
    for (; at < end; at++) a += data[at] * data[at]
    total += a + b + (c + d)
  }
  return total
}

/** Computes in float32 where both A and X are, else in float64, and gives the result in the type of X. */
function inCommonType(A: Matrix, X: Matrix, compute: (X: Matrix, type: FloatType) => Matrix): Matrix {
  const ownType = floatTypeOf(X.data)
  const type = floatTypeOf(A.data) === Float32Array ? ownType : Float64Array
  const result = compute(type === ownType ? X : toFloat64(X), type)
  return type === ownType ? result : { ...result, data: new ownType(result.data) }
}

function zerosOf(type: FloatType, rows: number, columns: number): Matrix {
  return { rows, columns, data: new type(rows * columns) }
}
