import { create, createDenseMatrixClass, createMatrixClass, createTyped } from 'mathjs'
import type { Engine } from '../../linalg/engine.ts'
import { type FloatArray, type FloatType, leadingColumns, type Matrix } from '../../linalg/matrix/matrix.ts'
import { defineFactory, factoryOf } from '../../mathjs/factory.ts'
import {
  type FloatMatrix,
  type FloatMatrixClass,
  floatMatrixClass,
  type WithMatrices,
} from '../../mathjs/float-matrix.ts'
import { floatAdd, floatMultiply, floatTranspose } from '../../mathjs/operations.ts'
import { type SvdOptions, svdFactory } from '../../mathjs/svd.ts'

/** The mathjs functions that the notebook uses, all on FloatMatrix; `randn` draws from one stream. */
export interface NotebookMath {
  randn(rows: number, columns: number): FloatMatrix
  multiply(A: FloatMatrix, B: FloatMatrix): FloatMatrix
  scale(factor: number, A: FloatMatrix): FloatMatrix
  add(A: FloatMatrix, B: FloatMatrix): FloatMatrix
  transpose(A: FloatMatrix): FloatMatrix
  diag(values: number[]): FloatMatrix
  svd(A: FloatMatrix, options?: SvdOptions): { U: FloatMatrix; S: { toArray(): number[] }; V: FloatMatrix }
  /** A[:, :count] */
  leadingColumns(A: FloatMatrix, count: number): FloatMatrix
}

type Signature = (...args: never[]) => unknown

/** A mathjs instance with no more in it than the notebook needs: `create(all)` alone would take longer than the demo. */
export function createNotebookMath(
  randn: (count: number) => FloatArray,
  float: FloatType,
  engine: Engine,
): NotebookMath {
  const arrayOf = (length: number) => (float === 'f32' ? new Float32Array(length) : new Float64Array(length))

  const define = (name: string, signatures: (FloatMatrix: FloatMatrixClass) => Record<string, Signature>) =>
    defineFactory<WithMatrices>(name, ['typed', 'DenseMatrix'], (matrices) =>
      matrices.typed(name, signatures(floatMatrixClass(matrices))),
    )
  const createRandn = define('randn', (FloatMatrix) => ({
    'number, number': (rows: number, columns: number) =>
      new FloatMatrix({ rows, columns, data: randn(rows * columns) }),
  }))
  const createScale = define('scale', (FloatMatrix) => ({
    'number, FloatMatrix': (factor: number, { flat }: FloatMatrix) =>
      new FloatMatrix({ ...flat, data: flat.data.map((x) => factor * x) } as Matrix),
  }))
  const createDiag = define('diag', (FloatMatrix) => ({
    Array: (values: number[]) => {
      const data = arrayOf(values.length ** 2)
      values.forEach((value, i) => {
        data[i * (values.length + 1)] = value
      })
      return new FloatMatrix({ rows: values.length, columns: values.length, data })
    },
  }))
  const createLeadingColumns = define('leadingColumns', (FloatMatrix) => ({
    'FloatMatrix, number': (A: FloatMatrix, count: number) => new FloatMatrix(leadingColumns(A.flat, count)),
  }))
  const factories = {
    createTyped,
    createMatrixClass,
    createDenseMatrixClass,
    createFloatMultiply: factoryOf(floatMultiply(() => engine)),
    createFloatAdd: factoryOf(floatAdd),
    createFloatTranspose: factoryOf(floatTranspose),
    createSvd: svdFactory(() => engine),
    createRandn,
    createScale,
    createDiag,
    createLeadingColumns,
  }
  return create(factories as never) as unknown as NotebookMath
}
