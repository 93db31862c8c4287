import type { EngineFor } from '../engine/engine-for.ts'
import { addMultiple } from '../matrix/arithmetic.ts'
import { type Matrix, transpose } from '../matrix/matrix.ts'
import type { Extension } from './extension.ts'
import { type FloatMatrix, floatMatrixClass } from './float-matrix.ts'

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
