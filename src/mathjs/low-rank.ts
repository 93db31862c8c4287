import type { EngineFor } from '../engine/engine-for.ts'
import { decompositionFlops } from '../engine/policy.ts'
import { floatType, type Matrix, toFloat32, toRows } from '../matrix/matrix.ts'
import type { RankRule } from '../rank/rules.ts'
import { factorsOf } from '../svd/factors.ts'
import { truncatedSvd } from '../truncation/truncated-svd.ts'
import { defineFactory, type TypedFunctions } from './define-factory.ts'
import { requireFiniteEntries } from './finite.ts'
import { type FloatMatrix, type FloatMatrixClass, flatten } from './float-matrix.ts'

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

interface Dependencies {
  typed: TypedFunctions
  DenseMatrix: new (data: number[][], datatype: string) => object
  FloatMatrix: FloatMatrixClass
}

/**
 * `lowRank(A, {rank: r})`, `lowRank(A, {energy: 0.99})` or `lowRank(A, {error: 0.05})` → {B, A, rank, error}: LoRA's two
 * factors, of the best approximation of that rank. An array gives arrays, a matrix matrices of its own kind.
 * Throws TypeError for entries that aren't finite numbers and for options that don't exist.
 */
export const lowRankFactory = (engineFor: EngineFor) =>
  defineFactory(
    'lowRank',
    ['typed', 'DenseMatrix', 'FloatMatrix'],
    ({ typed, DenseMatrix, FloatMatrix }: Dependencies) =>
      typed('lowRank', {
        'FloatMatrix, Object': ({ flat }: FloatMatrix, options: LowRankOptions) =>
          approximate(engineFor, flat, options, (M) => new FloatMatrix(M)),
        'Matrix, Object': (A: { toArray(): number[][] }, options: LowRankOptions) =>
          approximate(engineFor, flatten(A.toArray()), options, (M) => new DenseMatrix(toRows(M), 'number')),
        'Array, Object': (A: number[][], options: LowRankOptions) =>
          approximate(engineFor, flatten(A), options, toRows),
      }),
  )

function approximate<M>(
  engineFor: EngineFor,
  W: Matrix,
  options: LowRankOptions,
  convert: (M: Matrix) => M,
): LowRankResult<M> {
  requireFiniteEntries('lowRank', W)
  const rule = ruleOf(options, Math.min(W.rows, W.columns))
  const engine = engineFor(decompositionFlops(W.rows, W.columns))
  const truncated = truncatedSvd(W, rule, { engine })
  const { B, A } = factorsOf(truncated, truncated.rank)
  const inTypeOfW = floatType(W) === 'f32' ? toFloat32 : (M: Matrix) => M
  const { rank, optimalError } = truncated
  return { B: convert(inTypeOfW(B)), A: convert(inTypeOfW(A)), rank, error: optimalError }
}

function ruleOf(options: LowRankOptions, most: number): RankRule {
  const [[kind, value] = ['', Number.NaN], ...others] = Object.entries(options) as [string, number][]
  if (others.length > 0 || (kind !== 'rank' && kind !== 'energy' && kind !== 'error')) {
    throw new TypeError('lowRank takes one option: {rank: r}, {energy: share} or {error: e}')
  }
  if (kind === 'rank') {
    if (Number.isInteger(value) && value >= 1 && value <= most) return { kind, rank: value }
    throw new TypeError(`lowRank option rank is an integer from 1 to ${most}, not ${value}`)
  }
  if (!(value > 0 && value <= 1))
    throw new TypeError(`lowRank option ${kind} is above 0 and up to 1, not ${value}`)
  return kind === 'energy' ? { kind, energy: value } : { kind, error: value }
}
