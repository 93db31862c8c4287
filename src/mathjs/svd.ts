import type { EngineFor } from '../engine/engine-for.ts'
import { decompositionFlops } from '../engine/policy.ts'
import { leadingColumns, type Matrix, toFloat32, toRows } from '../matrix/matrix.ts'
import { defineFactory, type TypedFunctions } from './define-factory.ts'
import { requireFiniteEntries } from './finite.ts'
import { type FloatMatrix, type FloatMatrixClass, flatten } from './float-matrix.ts'

export interface SvdOptions {
  /** 'thin' (default): U [m, n] and V [k, n] with n = min(m, k). 'none': singular values only. */
  readonly vectors?: 'thin' | 'none'
  /** Keep only the leading singular values and vectors: the best approximation of this rank. */
  readonly rank?: number
}

/** A = U · diag(S) · Vᵀ; without U and V for `vectors: 'none'`. */
export interface SvdResult<M, V> {
  readonly U?: M
  readonly S: V
  readonly V?: M
}

interface Dependencies {
  typed: TypedFunctions
  DenseMatrix: new (data: number[] | number[][], datatype: string) => object
  FloatMatrix: FloatMatrixClass
}

/**
 * `svd(A [, {vectors, rank}])` → {U, S, V}. An array gives arrays, a mathjs matrix gives mathjs matrices, and a
 * FloatMatrix gives FloatMatrix U and V, in its own float type. S is a vector, non-increasing.
 * Throws TypeError for entries that aren't finite numbers and for options that don't exist.
 */
export const svdFactory = (engineFor: EngineFor) =>
  defineFactory(
    'svd',
    ['typed', 'DenseMatrix', 'FloatMatrix'],
    ({ typed, DenseMatrix, FloatMatrix }: Dependencies) => {
      const decompose = (A: Matrix, options: SvdOptions) => decomposeOn(engineFor, A, options)
      const onFlat = (A: FloatMatrix, options: SvdOptions) =>
        convert(
          decompose(A.flat, options),
          (M) => new FloatMatrix(M),
          (S) => new DenseMatrix(S, 'number'),
        )
      const onDense = (A: { toArray(): number[][] }, options: SvdOptions) =>
        convert(
          decompose(flatten(A.toArray()), options),
          (M) => new DenseMatrix(toRows(M), 'number'),
          (S) => new DenseMatrix(S, 'number'),
        )
      const onArray = (A: number[][], options: SvdOptions) =>
        convert(decompose(flatten(A), options), toRows, (S) => S)
      return typed('svd', {
        FloatMatrix: (A: FloatMatrix) => onFlat(A, {}),
        'FloatMatrix, Object': onFlat,
        Matrix: (A: { toArray(): number[][] }) => onDense(A, {}),
        'Matrix, Object': onDense,
        Array: (A: number[][]) => onArray(A, {}),
        'Array, Object': onArray,
      })
    },
  )

function decomposeOn(engineFor: EngineFor, A: Matrix, options: SvdOptions): SvdResult<Matrix, number[]> {
  const { vectors, rank } = checkOptions(options)
  requireFiniteEntries('svd', A)
  const { U, S, V } = engineFor(decompositionFlops(A.rows, A.columns)).svd(A, vectors)
  const kept = Math.min(rank ?? S.length, S.length)
  const inTypeOfA = A.data instanceof Float32Array ? toFloat32 : (M: Matrix) => M
  const values = Array.from(A.data instanceof Float32Array ? Float32Array.from(S) : S).slice(0, kept)
  if (vectors === 'none') return { S: values }
  return { U: inTypeOfA(leadingColumns(U, kept)), S: values, V: inTypeOfA(leadingColumns(V, kept)) }
}

function checkOptions({
  vectors = 'thin',
  rank,
  ...unknown
}: SvdOptions): SvdOptions & { vectors: 'thin' | 'none' } {
  const stranger = Object.keys(unknown)[0]
  if (stranger !== undefined) throw new TypeError(`svd has no option '${stranger}': use vectors, rank`)
  if (vectors !== 'thin' && vectors !== 'none') {
    throw new TypeError(`svd option vectors is 'thin' or 'none', not '${vectors}'`)
  }
  if (rank === undefined) return { vectors }
  if (!Number.isInteger(rank) || rank < 1) {
    throw new TypeError(`svd option rank is a positive integer, not ${rank}`)
  }
  return { vectors, rank }
}

function convert<M, V>(
  { U, S, V }: SvdResult<Matrix, number[]>,
  toMatrix: (M: Matrix) => M,
  toVector: (S: number[]) => V,
): SvdResult<M, V> {
  return { ...(U && { U: toMatrix(U) }), S: toVector(S), ...(V && { V: toMatrix(V) }) }
}
