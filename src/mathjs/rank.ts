import type { EngineFor } from '../engine/engine-for.ts'
import { decompositionFlops } from '../engine/policy.ts'
import { floatType, type Matrix } from '../matrix/matrix.ts'
import { epsilonOf, numericalRank } from '../rank/measures.ts'
import { defineFactory, type TypedFunctions } from './define-factory.ts'
import { requireFiniteEntries } from './finite.ts'
import { type FloatMatrix, flatten } from './float-matrix.ts'

/**
 * `rank(A [, tolerance])`: how many singular values exceed the tolerance, by default S_max · max(m, k) · eps of A's float
 * type, as NumPy's matrix_rank counts. Throws TypeError for entries that aren't finite numbers.
 */
export const rankFactory = (engineFor: EngineFor) =>
  defineFactory(
    'rank',
    ['typed', 'FloatMatrix'],
    ({ typed }: { typed: TypedFunctions; FloatMatrix: unknown }) => {
      const rank = (A: Matrix, tolerance?: number) => {
        requireFiniteEntries('rank', A)
        const { S } = engineFor(decompositionFlops(A.rows, A.columns)).svd(A, 'none')
        if (tolerance !== undefined) return S.reduce((count, s) => count + (s > tolerance ? 1 : 0), 0)
        return numericalRank(S, A.rows, A.columns, epsilonOf[floatType(A)])
      }
      const ofFlat = ({ flat }: FloatMatrix, tolerance?: number) => rank(flat, tolerance)
      const ofDense = (A: { toArray(): number[][] }, tolerance?: number) =>
        rank(flatten(A.toArray()), tolerance)
      const ofArray = (A: number[][], tolerance?: number) => rank(flatten(A), tolerance)
      return typed('rank', {
        FloatMatrix: ofFlat,
        'FloatMatrix, number': ofFlat,
        Matrix: ofDense,
        'Matrix, number': ofDense,
        Array: ofArray,
        'Array, number': ofArray,
      })
    },
  )
