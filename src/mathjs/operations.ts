import { addMultiple, multiply } from '../matrix/arithmetic.ts'
import { transpose } from '../matrix/matrix.ts'
import { defineFactory, type TypedFunctions } from './define-factory.ts'
import type { FloatMatrix, FloatMatrixClass } from './float-matrix.ts'

interface Dependencies {
  typed: TypedFunctions
  FloatMatrix: FloatMatrixClass
}

/**
 * mathjs functions with a signature for FloatMatrix, so that no entry passes through nested arrays. Imported into
 * an instance that has the functions already, each joins the existing signatures.
 */
function forFloatMatrices<A extends readonly FloatMatrix[]>(
  name: string,
  parameters: string,
  operation: (...args: A) => FloatMatrix['flat'],
) {
  return defineFactory(name, ['typed', 'FloatMatrix'], ({ typed, FloatMatrix }: Dependencies) =>
    typed(name, { [parameters]: (...args: A) => new FloatMatrix(operation(...args)) }),
  )
}

export const createFloatMultiply = forFloatMatrices(
  'multiply',
  'FloatMatrix, FloatMatrix',
  (A: FloatMatrix, B: FloatMatrix) => multiply(A.flat, B.flat),
)

export const createFloatAdd = forFloatMatrices(
  'add',
  'FloatMatrix, FloatMatrix',
  (A: FloatMatrix, B: FloatMatrix) => addMultiple(A.flat, B.flat, 1),
)

export const createFloatSubtract = forFloatMatrices(
  'subtract',
  'FloatMatrix, FloatMatrix',
  (A: FloatMatrix, B: FloatMatrix) => addMultiple(A.flat, B.flat, -1),
)

export const createFloatTranspose = forFloatMatrices('transpose', 'FloatMatrix', (A: FloatMatrix) =>
  transpose(A.flat),
)
