import type { Engine } from '../engine.ts'
import { type Float64Matrix, type Matrix, matrix, rowRange, toFloat64 } from '../matrix/matrix.ts'
import { besideColumns, columnRange } from './columns.ts'
import type { Operator } from './operator.ts'
import { orthonormalize } from './orthonormalize.ts'

export type KrylovEngine = Pick<Engine, 'multiply' | 'gram' | 'symmetricEigen'>

/** A basis that has grown by blocks: V [short, l] orthonormal, W = A·V [long, l]; the last `lastBlock` columns came last. */
export interface KrylovBasis {
  readonly V: Matrix
  readonly W: Matrix
  readonly lastBlock: number
  /** ‖AᵀA·V − …‖ of what was left out as rounding error when the blocks were made orthonormal. */
  readonly lost: number
}

/** What AᵀA leads to beyond a basis V: AᵀA·V(last block) = V·(…) + block·coupling, block orthonormal and orthogonal to V. */
export interface KrylovStep {
  readonly block: Matrix
  readonly coupling: Float64Matrix
  /** The length of what neither V nor the block holds. */
  readonly lost: number
}

/**
 * Ritz pairs of AᵀA on a basis V: values θ, non-increasing, and vectors V·C. Column i of `residuals` holds AᵀA·v(i) −
 * θ(i)·v(i) in the basis of the next block: zero rows for a basis that fills the space.
 */
export interface RitzPairs {
  readonly theta: Float64Array
  readonly vectors: Float64Matrix
  readonly residuals: Float64Matrix
}

/** The basis of one orthonormal block. */
export function startBasis(A: Operator, block: Matrix): KrylovBasis {
  return { V: block, W: A.forward(block), lastBlock: block.columns, lost: 0 }
}

/**
 * One step of the block Lanczos process with full re-orthogonalization (Golub and Underwood 1977; with a random start
 * Musco and Musco 2015): what lies beyond the basis, which also tells how far its Ritz pairs are from singular
 * triplets. The result is orthogonal to `deflated` as well: then the process is that of A restricted to its complement.
 * `refill` draws columns for directions that run out.
 */
export function nextBlock(
  engine: KrylovEngine,
  A: Operator,
  { V, W, lastBlock }: KrylovBasis,
  refill: (columns: number) => Matrix,
  deflated: readonly Matrix[] = [],
): KrylovStep {
  const Z = A.backward(columnRange(W, W.columns - lastBlock, W.columns))
  const { basis, lost } = orthonormalize(engine, Z, [...deflated, V], refill)
  return { block: basis, coupling: toFloat64(engine.multiply(basis, Z, { transposeA: true })), lost }
}

/** The basis with one more block. */
export function extendBasis(A: Operator, { V, W, lost }: KrylovBasis, step: KrylovStep): KrylovBasis {
  const { block } = step
  return {
    V: besideColumns(V, block),
    W: besideColumns(W, A.forward(block)),
    lastBlock: block.columns,
    lost: lost + step.lost,
  }
}

/** Rayleigh–Ritz in float64 on WᵀW. */
export function ritzPairs(
  engine: KrylovEngine,
  { W, lastBlock }: KrylovBasis,
  coupling: Float64Matrix,
): RitzPairs {
  const { values, vectors } = engine.symmetricEigen(engine.gram(W), 'thin')
  const l = values.length
  const descending = matrix(l, l, new Float64Array(l * l))
  for (let i = 0; i < l; i++) {
    for (let j = 0; j < l; j++) descending.data[i * l + j] = vectors.data[i * l + l - 1 - j]
  }
  const last = rowRange(descending, l - lastBlock, l)
  return {
    theta: values.map((value) => Math.max(0, value)).reverse(),
    vectors: descending,
    residuals: toFloat64(engine.multiply(coupling, last)),
  }
}

/** The first `count` Ritz vectors, [short, count] in float64, orthonormal to rounding. */
export function leadingRitzVectors(
  engine: KrylovEngine,
  { V }: KrylovBasis,
  { vectors }: RitzPairs,
  count: number,
  refill: (columns: number) => Matrix,
): Float64Matrix {
  const rotated = toFloat64(engine.multiply(V, columnRange(vectors, 0, count)))
  return toFloat64(orthonormalize(engine, rotated, [], refill).basis)
}

/** A block drawn by `draw` and made orthonormal. */
export function startBlock(
  engine: KrylovEngine,
  short: number,
  columns: number,
  draw: (columns: number) => Matrix,
): Matrix {
  return orthonormalize(engine, draw(Math.min(columns, short)), [], draw).basis
}
