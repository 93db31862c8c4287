import type { EngineFor } from '../engine/engine-for.ts'
import { decompositionFlops } from '../engine/policy.ts'
import { floatType, type Matrix, matrix, toFloat32, toRows } from '../matrix/matrix.ts'
import { epsilonOf, rankTolerance } from '../rank/measures.ts'
import { scaleByPowerOfTwo } from '../svd/power-scale.ts'
import { awayFromExtremes } from '../svd/scaled.ts'
import type { TypedFunctions } from './define-factory.ts'
import type { Extension } from './extension.ts'
import { requireFiniteEntries, requireFiniteResult } from './finite.ts'
import { flatten, type Nested, type Rows } from './flatten.ts'
import { type FloatMatrix, floatMatrixClass, isFloatMatrix } from './float-matrix.ts'

/**
 * `pinv(A)` of a matrix of numbers: the Moore–Penrose inverse V · diag(1/S) · Uᵀ, where singular values up to
 * `rankTolerance` count as zero, so that matrices without full rank are right too. It comes in the form of A. Scalars,
 * vectors, and matrices of other types than numbers stay mathjs's.
 */
export const numericPinv = (engineFor: EngineFor): Extension => ({
  name: 'pinv',
  signatures(given) {
    const FloatMatrix = floatMatrixClass(given)
    addNumberMatrix(given.typed)
    const invert = (rows: Nested) => toRows(pseudoInverse(engineFor, flatten('pinv', rows)))
    return {
      FloatMatrix: ({ flat }: FloatMatrix) => new FloatMatrix(pseudoInverse(engineFor, flat)),
      NumberMatrix: (A: Nested | (Rows & { constructor: unknown })) =>
        Array.isArray(A) ? invert(A) : new (A.constructor as MatrixClass)(invert(A.toArray())),
    }
  },
})

type MatrixClass = new (rows: Nested) => Rows

/** mathjs has signatures for Array and for Matrix, which can't be replaced: this type comes before both. */
function addNumberMatrix(typed: TypedFunctions): void {
  typed.addTypes([{ name: 'NumberMatrix', test: isNumberMatrix }], 'Array')
}

function isNumberMatrix(value: unknown): boolean {
  if (isFloatMatrix(value)) return false
  const isMatrix = (value as { isMatrix?: boolean } | null)?.isMatrix === true
  const rows = isMatrix ? (value as Rows).toArray() : value
  if (!Array.isArray(rows) || !Array.isArray(rows[0]) || rows[0].length === 0) return false
  return rows.every((row) => Array.isArray(row) && row.every((entry) => typeof entry === 'number'))
}

function pseudoInverse(engineFor: EngineFor, given: Matrix): Matrix {
  requireFiniteEntries('pinv', given)
  const { A, exponent } = awayFromExtremes(given)
  const engine = engineFor(decompositionFlops(A.rows, A.columns))
  const { U, S, V } = engine.svd(A, 'thin')
  const type = floatType(given)
  const zero = rankTolerance(S, A.rows, A.columns, epsilonOf[type])
  const scaled = V.data.map((v, at) => (S[at % S.length] > zero ? v / S[at % S.length] : 0))
  const product = engine.multiply(matrix(V.rows, V.columns, scaled), U, { transposeB: true })
  if (exponent !== 0) scaleByPowerOfTwo(product.data, -exponent)
  const inverse = type === 'f32' ? toFloat32(product) : product
  requireFiniteResult('pinv', 'an entry of the inverse', inverse.data, 'up')
  return inverse
}
