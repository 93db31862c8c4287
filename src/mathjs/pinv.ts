import type { EngineFor } from '../engine/engine-for.ts'
import { decompositionFlops } from '../engine/policy.ts'
import { floatType, type Matrix, matrix, toFloat32 } from '../matrix/matrix.ts'
import { epsilonOf, rankTolerance } from '../rank/measures.ts'
import { defineFactory, type TypedFunctions } from './define-factory.ts'
import { requireFiniteEntries } from './finite.ts'
import type { FloatMatrix, FloatMatrixClass } from './float-matrix.ts'

interface Dependencies {
  typed: TypedFunctions
  FloatMatrix: FloatMatrixClass
}

/**
 * `pinv(A)` of a FloatMatrix: the Moore–Penrose inverse V · diag(1/S) · Uᵀ, where singular values up to `rankTolerance`
 * count as zero, so that matrices without full rank are right too.
 */
export const floatPinvFactory = (engineFor: EngineFor) =>
  defineFactory('pinv', ['typed', 'FloatMatrix'], ({ typed, FloatMatrix }: Dependencies) =>
    typed('pinv', {
      FloatMatrix: ({ flat }: FloatMatrix) => new FloatMatrix(pseudoInverse(engineFor, flat)),
    }),
  )

function pseudoInverse(engineFor: EngineFor, A: Matrix): Matrix {
  requireFiniteEntries('pinv', A)
  const engine = engineFor(decompositionFlops(A.rows, A.columns))
  const { U, S, V } = engine.svd(A, 'thin')
  const type = floatType(A)
  const zero = rankTolerance(S, A.rows, A.columns, epsilonOf[type])
  const scaled = V.data.map((v, at) => (S[at % S.length] > zero ? v / S[at % S.length] : 0))
  const inverse = engine.multiply(matrix(V.rows, V.columns, scaled), U, { transposeB: true })
  return type === 'f32' ? toFloat32(inverse) : inverse
}
