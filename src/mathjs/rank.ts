import type { EngineFor } from '../engine/engine-for.ts'
import { decompositionFlops } from '../engine/policy.ts'
import { floatType, type Matrix } from '../matrix/matrix.ts'
import { epsilonOf, numericalRank, rankAboveFloor } from '../rank/measures.ts'
import { timesPowerOfTwo } from '../svd/power-scale.ts'
import { awayFromExtremes } from '../svd/scaled.ts'
import { defineFactory, oncePerInstance } from './define-factory.ts'
import { requireFiniteEntries } from './finite.ts'
import { flatten, type Nested, type Rows } from './flatten.ts'
import { type FloatMatrix, floatMatrixClass, type WithMatrices } from './float-matrix.ts'

/**
 * `rank(A [, tolerance])`: how many singular values exceed the tolerance, by default S_max · max(m, k) · eps of A's float
 * type, as NumPy's matrix_rank counts. Throws TypeError for entries that aren't finite numbers.
 */
export const rankFactory = (engineFor: EngineFor) =>
  defineFactory('rank', ['typed', 'DenseMatrix'], ({ typed, DenseMatrix }: WithMatrices) =>
    oncePerInstance(typed, 'rank', () => {
      floatMatrixClass({ typed, DenseMatrix })
      const ofFlat = ({ flat }: FloatMatrix, tolerance?: number) => rankOn(engineFor, flat, tolerance)
      const ofArray = (A: Nested, tolerance?: number) => rankOn(engineFor, flatten('rank', A), tolerance)
      const ofDense = (A: Rows, tolerance?: number) => ofArray(A.toArray(), tolerance)
      return typed('rank', {
        FloatMatrix: ofFlat,
        'FloatMatrix, number': ofFlat,
        Matrix: ofDense,
        'Matrix, number': ofDense,
        Array: ofArray,
        'Array, number': ofArray,
      })
    }),
  )

function rankOn(engineFor: EngineFor, given: Matrix, tolerance?: number): number {
  if (tolerance !== undefined && !(tolerance >= 0)) {
    throw new TypeError(`rank takes a tolerance of 0 or more, not ${tolerance}`)
  }
  requireFiniteEntries('rank', given)
  const { A, exponent } = awayFromExtremes(given)
  const { S } = engineFor(decompositionFlops(A.rows, A.columns)).svd(A, 'none')
  if (tolerance !== undefined) return rankAboveFloor(S, timesPowerOfTwo(tolerance, -exponent))
  return numericalRank(S, A.rows, A.columns, epsilonOf[floatType(given)])
}
