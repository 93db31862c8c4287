import { decompositionFlops, type EngineFor } from '../engine/open.ts'
import { floatType, type Matrix, toFloat32, toRows } from '../linalg/matrix/matrix.ts'
import type { RankRule } from '../linalg/spectrum/rules.ts'
import { awayFromExtremes, scaleByPowerOfTwo } from '../linalg/svd/scaling.ts'
import { factorsOf } from '../linalg/svd/svd.ts'
import { truncatedSvd } from '../linalg/truncation/truncated-svd.ts'
import { defineFactory, oncePerInstance } from './factory.ts'
import { type FloatMatrix, floatMatrixClass, type WithMatrices } from './float-matrix.ts'
import {
  checkRank,
  flatten,
  type Nested,
  type Rows,
  requireFiniteEntries,
  requireFiniteResult,
} from './input.ts'

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
