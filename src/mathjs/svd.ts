import { decompositionFlops, type EngineFor } from '../engine/choice.ts'
import {
  epsilonOf,
  floatType,
  leadingColumns,
  type Matrix,
  toFloat32,
  toRows,
} from '../linalg/matrix/matrix.ts'
import { numericalRank, rankAboveFloor } from '../linalg/spectrum/ranks.ts'
import type { RankRule } from '../linalg/spectrum/rules.ts'
import { awayFromExtremes, scaleByPowerOfTwo, timesPowerOfTwo } from '../linalg/svd/scaling.ts'
import { factorsOf } from '../linalg/svd/svd.ts'
import { truncatedSvd } from '../linalg/truncation/truncated-svd.ts'
import {
  checkRank,
  defineFactory,
  flatten,
  type Nested,
  oncePerInstance,
  type Rows,
  requireFiniteEntries,
  requireFiniteResult,
} from './factory.ts'
import { type FloatMatrix, floatMatrixClass, type WithMatrices } from './float-matrix.ts'

export interface SvdOptions {
  /** 'thin' (default): U [m, n] and V [k, n] with n = min(m, k). 'none': singular values only. */
  readonly vectors?: 'thin' | 'none'
  /** Keep only the leading singular values and vectors, at most all min(m, k): the best approximation of this rank. */
  readonly rank?: number
}

/** A = U · diag(S) · Vᵀ; without U and V for `vectors: 'none'`. */
export interface SvdResult<M, V> {
  readonly U?: M
  readonly S: V
  readonly V?: M
}

/**
 * `svd(A [, {vectors, rank}])` → {U, S, V}. An array gives arrays, a mathjs matrix gives mathjs matrices, and a
 * FloatMatrix gives FloatMatrix U and V, in its own float type. S is a vector, non-increasing.
 * Throws TypeError for entries that aren't finite numbers and for options that don't exist, RangeError where a singular value
 * is too large for the float type.
 */
export const svdFactory = (engineFor: EngineFor) =>
  defineFactory('svd', ['typed', 'DenseMatrix'], ({ typed, DenseMatrix }: WithMatrices) =>
    oncePerInstance(typed, 'svd', () => {
      const FloatMatrix = floatMatrixClass({ typed, DenseMatrix })
      const decompose = (A: Matrix, options: SvdOptions) => decomposeOn(engineFor, A, options)
      const toVector = (S: number[]) => new DenseMatrix(S)
      const onFlat = (A: FloatMatrix, options: SvdOptions = {}) =>
        convert(decompose(A.flat, options), (M) => new FloatMatrix(M), toVector)
      const onDense = (A: Rows, options: SvdOptions = {}) =>
        convert(decompose(flatten('svd', A.toArray()), options), (M) => new DenseMatrix(toRows(M)), toVector)
      const onArray = (A: Nested, options: SvdOptions = {}) =>
        convert(decompose(flatten('svd', A), options), toRows, (S) => S)
      return typed('svd', {
        FloatMatrix: onFlat,
        'FloatMatrix, Object': onFlat,
        Matrix: onDense,
        'Matrix, Object': onDense,
        Array: onArray,
        'Array, Object': onArray,
      })
    }),
  )

function decomposeOn(engineFor: EngineFor, given: Matrix, options: SvdOptions): SvdResult<Matrix, number[]> {
  const { vectors, rank } = checkOptions(options, Math.min(given.rows, given.columns))
  requireFiniteEntries('svd', given)
  const { A, exponent } = awayFromExtremes(given)
  const { U, S, V } = engineFor(decompositionFlops(A.rows, A.columns)).svd(A, vectors)
  scaleByPowerOfTwo(S, exponent)
  const isFloat32 = floatType(given) === 'f32'
  const all = isFloat32 ? Float32Array.from(S) : S
  requireFiniteResult('svd', 'the largest singular value', all)
  const values = Array.from(all).slice(0, rank)
  if (vectors === 'none') return { S: values }
  const ofType = isFloat32 ? toFloat32 : (M: Matrix) => M
  const kept = (M: Matrix) => ofType(leadingColumns(M, values.length))
  return { U: kept(U), S: values, V: kept(V) }
}

function checkOptions(
  { vectors = 'thin', rank, ...unknown }: SvdOptions,
  most: number,
): SvdOptions & { vectors: 'thin' | 'none' } {
  const stranger = Object.keys(unknown)[0]
  if (stranger !== undefined) throw new TypeError(`svd has no option '${stranger}': use vectors, rank`)
  if (vectors !== 'thin' && vectors !== 'none') {
    throw new TypeError(`svd option vectors is 'thin' or 'none', not '${vectors}'`)
  }
  if (rank === undefined) return { vectors }
  return { vectors, rank: checkRank('svd', rank, most) }
}

function convert<M, V>(
  { U, S, V }: SvdResult<Matrix, number[]>,
  toMatrix: (M: Matrix) => M,
  toVector: (S: number[]) => V,
): SvdResult<M, V> {
  return { ...(U && { U: toMatrix(U) }), S: toVector(S), ...(V && { V: toMatrix(V) }) }
}

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

/** One of the three: a rank, a share of ‖A‖_F² to keep, or a relative error to stay within. */
export type LowRankOptions = { rank: number } | { energy: number } | { error: number }

/** A ≈ B·A' of the rank that was asked for: the best there is, up to the interval of `error`. */
export interface LowRankResult<M> {
  /** [m, rank] = U·diag(S) */
  readonly B: M
  /** [rank, k] = Vᵀ */
  readonly A: M
  readonly rank: number
  /** ‖A − B·A'‖_F / ‖A‖_F of the best approximation of this rank lies between these. */
  readonly error: { readonly atLeast: number; readonly atMost: number }
}

/**
 * `lowRank(A, {rank: r})`, `lowRank(A, {energy: 0.99})` or `lowRank(A, {error: 0.05})` → {B, A, rank, error}: LoRA's two
 * factors, of the best approximation of that rank. An array gives arrays, a matrix matrices of its own kind.
 * Throws TypeError for entries that aren't finite numbers and for options that don't exist.
 */
export const lowRankFactory = (engineFor: EngineFor) =>
  defineFactory('lowRank', ['typed', 'DenseMatrix'], ({ typed, DenseMatrix }: WithMatrices) =>
    oncePerInstance(typed, 'lowRank', () => {
      const FloatMatrix = floatMatrixClass({ typed, DenseMatrix })
      const ofRows = <M>(A: Nested, options: LowRankOptions, convert: (M: Matrix) => M) =>
        approximate(engineFor, flatten('lowRank', A), options, convert)
      return typed('lowRank', {
        'FloatMatrix, Object': ({ flat }: FloatMatrix, options: LowRankOptions) =>
          approximate(engineFor, flat, options, (M) => new FloatMatrix(M)),
        'Matrix, Object': (A: Rows, options: LowRankOptions) =>
          ofRows(A.toArray(), options, (M) => new DenseMatrix(toRows(M))),
        'Array, Object': (A: Nested, options: LowRankOptions) => ofRows(A, options, toRows),
      })
    }),
  )

function approximate<M>(
  engineFor: EngineFor,
  given: Matrix,
  options: LowRankOptions,
  convert: (M: Matrix) => M,
): LowRankResult<M> {
  requireFiniteEntries('lowRank', given)
  const rule = ruleOf(options, Math.min(given.rows, given.columns))
  const { A: W, exponent } = awayFromExtremes(given)
  const engine = engineFor(decompositionFlops(W.rows, W.columns))
  const truncated = truncatedSvd(W, rule, { engine })
  const { B, A } = factorsOf(truncated, truncated.rank)
  scaleByPowerOfTwo(B.data, exponent)
  const ofType = floatType(given) === 'f32' ? toFloat32 : (M: Matrix) => M
  const left = ofType(B)
  requireFiniteResult('lowRank', 'an entry of B', left.data)
  const { rank, optimalError } = truncated
  return { B: convert(left), A: convert(ofType(A)), rank, error: optimalError }
}

function ruleOf(options: LowRankOptions, most: number): RankRule {
  const [[kind, value] = ['', Number.NaN], ...others] = Object.entries(options) as [string, number][]
  if (others.length > 0 || (kind !== 'rank' && kind !== 'energy' && kind !== 'error')) {
    throw new TypeError('lowRank takes one option: {rank: r}, {energy: share} or {error: e}')
  }
  if (kind === 'rank') return { kind, rank: checkRank('lowRank', value, most) }
  if (!(value > 0 && value <= 1))
    throw new TypeError(`lowRank option ${kind} is above 0 and up to 1, not ${value}`)
  return kind === 'energy' ? { kind, energy: value } : { kind, error: value }
}
