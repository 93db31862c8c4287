import { decompositionFlops, type EngineFor } from '../engine/choice.ts'
import {
  epsilonOf,
  floatType,
  type Matrix,
  matrix,
  toFloat32,
  toRows,
  transpose,
} from '../linalg/matrix/matrix.ts'
import { addMultiple } from '../linalg/matrix/norms.ts'
import { rankTolerance } from '../linalg/spectrum/ranks.ts'
import { awayFromExtremes, scaleByPowerOfTwo } from '../linalg/svd/scaling.ts'
import type { Extension, TypedFunctions } from './factory.ts'
import { flatten, type Nested, type Rows, requireFiniteEntries, requireFiniteResult } from './factory.ts'
import { type FloatMatrix, floatMatrixClass, isFloatMatrix } from './float-matrix.ts'

type Operation = (...args: Matrix[]) => Matrix

/**
 * A mathjs function for FloatMatrix, so that no entry passes through nested arrays. What the fast way isn't for (shapes that
 * mathjs broadcasts or refuses, entries that a program made complex) goes mathjs's way.
 */
const onFloats = (
  name: string,
  parameters: string,
  operation: Operation,
  fits: (...args: Matrix[]) => boolean,
): Extension => ({
  name,
  signatures({ math, ...given }) {
    const FloatMatrix = floatMatrixClass(given)
    return {
      [parameters]: (...args: (FloatMatrix & { clone(): object })[]) => {
        const flat = args.map(flatOrNothing).filter((A) => A !== undefined)
        if (flat.length === args.length && fits(...flat)) return new FloatMatrix(operation(...flat))
        return math[name]?.(...args.map((A) => A.clone()))
      },
    }
  },
})

function flatOrNothing(A: FloatMatrix): Matrix | undefined {
  try {
    return A.flat
  } catch {
    return undefined
  }
}

const areAlike = (A: Matrix, B: Matrix) => A.rows === B.rows && A.columns === B.columns
const isThere = (A: Matrix) => A.data.length > 0

/** A·B on an engine: float32 arithmetic where both are float32, else float64. */
export const floatMultiply = (engineFor: EngineFor) =>
  onFloats(
    'multiply',
    'FloatMatrix, FloatMatrix',
    (A, B) => engineFor(A.rows * A.columns * B.columns).multiply(A, B),
    (A, B) => A.columns === B.rows && isThere(A) && isThere(B),
  )

export const floatAdd = onFloats('add', 'FloatMatrix, FloatMatrix', (A, B) => addMultiple(A, B, 1), areAlike)

export const floatSubtract = onFloats(
  'subtract',
  'FloatMatrix, FloatMatrix',
  (A, B) => addMultiple(A, B, -1),
  areAlike,
)

export const floatTranspose = onFloats('transpose', 'FloatMatrix', (A) => transpose(A), isThere)

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
