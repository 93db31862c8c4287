import type { EngineFor } from '../engine/engine-for.ts'
import { addMultiple } from '../matrix/arithmetic.ts'
import { type Matrix, transpose } from '../matrix/matrix.ts'
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
function forFloatMatrices(name: string, parameters: string, operation: (...args: Matrix[]) => Matrix) {
  return defineFactory(name, ['typed', 'FloatMatrix'], ({ typed, FloatMatrix }: Dependencies) =>
    typed(name, {
      [parameters]: (...args: FloatMatrix[]) => new FloatMatrix(operation(...args.map(({ flat }) => flat))),
    }),
  )
}

/** A·B on an engine: float32 arithmetic where both are float32, else float64. */
export const floatMultiplyFactory = (engineFor: EngineFor) =>
  forFloatMatrices('multiply', 'FloatMatrix, FloatMatrix', (A, B) =>
    engineFor(A.rows * A.columns * B.columns).multiply(A, B),
  )

export const createFloatAdd = forFloatMatrices('add', 'FloatMatrix, FloatMatrix', (A, B) =>
  addMultiple(A, B, 1),
)

export const createFloatSubtract = forFloatMatrices('subtract', 'FloatMatrix, FloatMatrix', (A, B) =>
  addMultiple(A, B, -1),
)

export const createFloatTranspose = forFloatMatrices('transpose', 'FloatMatrix', (A) => transpose(A))
