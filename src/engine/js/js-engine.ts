import type {
  Engine,
  GramOf,
  HalfMatrix,
  MultiplyOptions,
  ResidentMatrix,
  Room,
} from '../../linalg/engine.ts'
import { widened, widenedOperands } from '../../linalg/matrix/half.ts'
import {
  type Float64Matrix,
  type FloatArray,
  type FloatType,
  type Matrix,
  matrix,
  toFloat64,
  transpose,
} from '../../linalg/matrix/matrix.ts'
import { decompositions } from '../../linalg/svd/decompositions.ts'
import { jsKernels } from '../../linalg/svd/js-kernels.ts'

/** Plain loops: right for small matrices, slow for others, and what the other engines are tested against. */
export const jsEngine: Engine = {
  name: 'js',
  threads: 1,
  multiply,
  gram,
  resident,
  ...decompositions(jsKernels),
}

/**
 * op(A)·op(B) by plain loops with float64 sums, each over the inner index in order; rounded once to float32
 * when both are float32. Throws RangeError when the inner dimensions differ.
 */
export function multiply(
  leftOperand: Matrix | HalfMatrix,
  rightOperand: Matrix | HalfMatrix,
  options: MultiplyOptions = {},
): Matrix {
  const [A, B] = widenedOperands(leftOperand, rightOperand)
  const left = options.transposeA ? transpose(A) : A
  const right = options.transposeB ? transpose(B) : B
  checkInner(left.columns, right.rows)
  const { rows, columns: inner } = left
  const columns = right.columns
  const single = A.data instanceof Float32Array && B.data instanceof Float32Array
  const data: FloatArray = single ? new Float32Array(rows * columns) : new Float64Array(rows * columns)
  const sums = new Float64Array(columns)
  for (let i = 0; i < rows; i++) {
    sums.fill(0)
    for (let k = 0; k < inner; k++) {
      const a = left.data[i * inner + k]
      const row = k * columns
      for (let j = 0; j < columns; j++) sums[j] += a * right.data[row + j]
    }
    data.set(sums, i * columns)
  }
  return { rows, columns, data }
}

/** Aᵀ·A or A·Aᵀ in float64. The same products in the same order for (i, j) and (j, i), so exactly symmetric. */
export function gram(stored: Matrix | HalfMatrix, of: GramOf = 'columns'): Float64Matrix {
  const A = widened(stored)
  if (of === 'rows') return gram(transpose(A))
  const n = A.columns
  const data = new Float64Array(n * n)
  for (let k = 0; k < A.rows; k++) {
    const row = A.data.subarray(k * n, (k + 1) * n)
    for (let i = 0; i < n; i++) {
      const a = row[i]
      for (let j = 0; j < n; j++) data[i * n + j] += a * row[j]
    }
  }
  return { rows: n, columns: n, data }
}

/** Throws RangeError when a product's inner dimensions differ. */
export function checkInner(left: number, right: number): void {
  if (left !== right)
    throw new RangeError(`can't multiply: ${left} columns on the left, ${right} rows on the right`)
}

/** The oracle's resident matrix: the entries in float64, every method by plain loops. */
function resident(A: Matrix | HalfMatrix): ResidentMatrix {
  let entries: Matrix<Float64Array> | undefined = toFloat64(widened(A))

  function held(): Matrix<Float64Array> {
    if (entries === undefined) throw new Error('this resident matrix has been released')
    return entries
  }

  return {
    rows: A.rows,
    columns: A.columns,
    leastColumns: 1,
    multiply: (X) => inTypeOf(X, multiply(held(), X)),
    multiplyTransposed: (Y) => inTypeOf(Y, multiply(held(), Y, { transposeA: true })),
    multiplyNormal: (X) => inTypeOf(X, multiply(held(), multiply(held(), X), { transposeA: true })),
    frobeniusSquared: () => held().data.reduce((sum, a) => sum + a * a, 0),
    residualSquared(B, C) {
      checkResidual(held(), B, C)
      const product = multiply(toFloat64(B), toFloat64(C))
      return held().data.reduce((sum, a, i) => sum + (a - product.data[i]) ** 2, 0)
    },
    room: roomOf,
    release() {
      entries = undefined
    },
  }
}

/** Room in the program's own memory, for engines that work there. */
export function roomOf(type: FloatType, length: number): Room {
  const data = type === 'f32' ? new Float32Array(length) : new Float64Array(length)
  return { length, first: (count) => data.subarray(0, count) }
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
