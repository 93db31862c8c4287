import type { FloatType } from '../matrix/matrix.ts'
import { defineFactory, oncePerInstance } from './define-factory.ts'
import { type Extension, extend, type WithMath } from './extension.ts'
import { flatten, type Nested, type Rows } from './flatten.ts'
import { floatMatrixClass } from './float-matrix.ts'

/**
 * `floatMatrix(A [, 'f32' | 'f64'])`: an array of rows or any mathjs matrix as a FloatMatrix. Importing it also extends the
 * functions that are to know the type; so it is not put off until its first use.
 */
export const floatMatrixFactory = (extensions: readonly Extension[]) =>
  defineFactory(
    'floatMatrix',
    ['typed', 'DenseMatrix', 'math'],
    (given: WithMath) => {
      extend(extensions, given)
      return oncePerInstance(given.typed, 'floatMatrix', () => {
        const FloatMatrix = floatMatrixClass(given)
        const ofRows = (A: Nested, type = 'f64') =>
          new FloatMatrix(flatten('floatMatrix', A, checkType(type)))
        const ofMatrix = (A: Rows, type?: string) => ofRows(A.toArray(), type)
        return given.typed('floatMatrix', {
          Array: ofRows,
          'Array, string': ofRows,
          Matrix: ofMatrix,
          'Matrix, string': ofMatrix,
        })
      })
    },
    { lazy: false },
  )

function checkType(type: string): FloatType {
  if (type === 'f32' || type === 'f64') return type
  throw new TypeError(`floatMatrix keeps its entries as 'f64' (the default) or 'f32', not as '${type}'`)
}
