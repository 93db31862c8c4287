import type { Engine } from '../engine.ts'
import { epsilonOf, type Float64Matrix, leadingColumns, type Matrix, toFloat64 } from '../matrix/matrix.ts'
import { timesPowerOfTwo } from '../svd/scaling.ts'
import { type ExcessBound, excessBound } from './certificate.ts'
import { viewOf } from './certified-krylov.ts'
import { OVERSAMPLING } from './certified-truncation.ts'
import { columnSquares, difference, scaleColumns } from './columns.ts'
import { complementBounds } from './complement-bound.ts'
import {
  extendBasis,
  leadingRitzVectors,
  nextBlock,
  type Operator,
  startBasis,
  startBlock,
  type Triplets,
  tripletsOn,
} from './krylov.ts'
import { FAILURE_PROBABILITY, type View } from './proofs.ts'
import { normalColumns, type StreamKeys, uniformColumns } from './streams.ts'
import type { Interval, TruncationEngine } from './truncated-svd.ts'

/**
 * Leading singular vectors, one by one, each with how far it may be from the true one.
 *
 * Let A·v_i = s_i·u_i with orthonormal u and v, r_i = Aᵀu_i − s_i·v_i, which is orthogonal to all v, and let σ be the true values:
 * σ_j ≥ s_j for the ones above, and σ_{i+1}² ≤ β_{i+1}, where β_k is at least ‖A − A·V_k·V_kᵀ‖₂². Then s_i² is away from every
 * eigenvalue but σ_i² by the gap γ_i = min(s_{i−1}² − s_i², s_i² − β_{i+1}), and by the sin θ theorem (Davis and Kahan 1970) for
 * AᵀA and for AAᵀ
 *
 *     sin ∠(v_i, true) ≤ s_i·‖r_i‖ / γ_i,        sin ∠(u_i, true) ≤ ‖A·r_i‖ / γ_i ≤ √β_l·‖r_i‖ / γ_i,
 *
 * since AᵀA·v_i − s_i²·v_i = s_i·r_i and AAᵀ·u_i − s_i²·u_i = A·r_i. Two unit vectors at an angle of that sine are at most √2 times
 * it apart.
 */

/** A left singular vector that is known so well needs no more work. */
const GOAL = 0.02
/** The basis grows by this factor before the errors are looked at again. */
const LOOK_GROWTH = 1.25
/** Columns of a block: vectors of values that lie close together are told apart by steps, of which narrow blocks allow more. */
const BLOCK = 12
/** The basis in blocks at least, without which nothing has converged, and at most: what it hasn't found by then is too close to others. */
const LEAST_BLOCKS = 4
const MOST_BLOCKS = 15
export const MOST_BASIS_COLUMNS = MOST_BLOCKS * BLOCK
/** Steps of the probe that bounds what is beyond the basis. */
const PROBE_STEPS = 5
/** No two lines are further apart. */
const FARTHEST = Math.SQRT2
/** What the full decomposition may be off by, in epsilons times the root of the order. */
const FULL_EPSILONS = 8
/** Rounding of products in float64, in the same unit. */
const SUM_EPSILONS = 8

export interface LeadingVectors {
  /** Left singular vectors, [rows, count], orthonormal. */
  readonly U: Float64Matrix
  /** Their singular values, each at most the true one. */
  readonly S: Float64Array
  /** The largest singular value. */
  readonly spectral: Interval
  /** At least the distance of each column of U, or of its negative, from the true vector. */
  readonly errors: Float64Array
  /** They are all that the matrix has: min(rows, columns) of them. */
  readonly isAll: boolean
  /** That an error is wrong. */
  readonly failureProbability: number
}

export interface LeadingVectorsOptions {
  readonly engine: TruncationEngine
  readonly keys: StreamKeys
  /** How far, in the spectral norm, the matrix may be from the one that is meant; 0 when left out. */
  readonly perturbation?: number
}

/** The `count` leading left singular vectors of what an operator is of, by block Krylov iteration. Throws as the operator does. */
export function leadingVectors(
  A: Operator,
  count: number,
  { engine, keys, perturbation = 0 }: LeadingVectorsOptions,
): LeadingVectors {
  const slack = timesPowerOfTwo(perturbation, -A.exponent)
  const view = grownView(A, count, engine, keys)
  const { mu } = last(probe(A, view, engine, keys))
  const bound = excessBound(view.pairs, view.norms, mu, view.rounding)
  const draw = uniformColumns(A.short, 'f64', keys.known('complete'))
  const V = leadingRitzVectors(engine, view.basis, view.pairs, count, draw)
  const triplets = tripletsOn(engine, V, A.forward(V), uniformColumns(A.long, 'f64', keys.known('complete')))
  const rootOf = (square: number) => timesPowerOfTwo(Math.sqrt(square), A.exponent)
  return {
    U: A.isWide ? triplets.right : triplets.left,
    S: triplets.S.map((s) => timesPowerOfTwo(s, A.exponent)),
    spectral: { atLeast: rootOf(triplets.S[0] ** 2), atMost: rootOf(bound.beyond(0)) },
    errors: errorsOf(A, triplets, residualLengths(A, triplets), bound, slack),
    isAll: false,
    failureProbability: FAILURE_PROBABILITY,
  }
}

/** All of them, by the full decomposition. */
export function allVectors(A: Matrix, engine: Pick<Engine, 'svd'>, perturbation = 0): LeadingVectors {
  const { U, S } = engine.svd(toFloat64(A), 'thin')
  const off = FULL_EPSILONS * epsilonOf.f64 * Math.sqrt(S.length) * (S[0] ?? 0) + perturbation
  const errors = S.map((s, i) => {
    const gap = Math.min((S[i - 1] ?? Number.POSITIVE_INFINITY) - s, s - (S[i + 1] ?? 0))
    return distanceOf(Math.SQRT2 * off, gap - 2 * off)
  })
  const spectral = { atLeast: Math.max(0, (S[0] ?? 0) - off), atMost: (S[0] ?? 0) + off }
  return { U: leadingColumns(U, S.length), S, spectral, errors, isAll: true, failureProbability: 0 }
}

/** A basis that has grown until its leading vectors are good, or as far as it may. */
function grownView(A: Operator, count: number, engine: TruncationEngine, keys: StreamKeys): View {
  const draw = uniformColumns(A.short, A.precision, keys.known('start'))
  const most = Math.min(MOST_BASIS_COLUMNS, A.short / 2)
  let basis = startBasis(engine, A, startBlock(engine, A.short, BLOCK, draw))
  let lookAt = Math.max(LEAST_BLOCKS * BLOCK, count + OVERSAMPLING)
  for (;;) {
    const next = nextBlock(engine, A, basis, draw)
    const l = basis.gram.rows
    const isLast = l + basis.lastImage.columns > most
    if (l >= lookAt || isLast) {
      const view = viewOf(A, { engine }, { arithmetic: A.precision, basis, draw }, next)
      if (isLast || isGood(view, count)) return view
      lookAt = l * LOOK_GROWTH
    }
    basis = extendBasis(engine, A, basis, next)
  }
}

/** By an estimate: the complement of the basis reaches about as far up as the half of its Ritz values that has not converged. */
function isGood({ pairs, norms, rounding }: View, count: number): boolean {
  const { theta } = pairs
  const bound = excessBound(pairs, norms, theta[theta.length >> 1], rounding)
  for (let i = 0; i < count; i++) {
    const gap = gapAt(i, (at) => theta[at], bound)
    if (distanceOf(norms.of(i), gap) > GOAL) return false
  }
  return true
}

/** How far the square of value i is at least from the square of any other. */
const gapAt = (i: number, squareAt: (i: number) => number, { beyond }: ExcessBound): number =>
  Math.min(i === 0 ? Number.POSITIVE_INFINITY : squareAt(i - 1) - squareAt(i), squareAt(i) - beyond(i + 1))

/** Of unit vectors whose angle has at most the sine residual / gap. */
const distanceOf = (residual: number, gap: number): number =>
  gap > 0 ? Math.min(FARTHEST, (FARTHEST * residual) / gap) : FARTHEST

function* probe(
  A: Operator,
  { arithmetic, basis, rounding }: View,
  engine: TruncationEngine,
  keys: StreamKeys,
) {
  const draw = normalColumns(A.short, arithmetic, keys.independent('probe/0'))
  let steps = 0
  for (const bound of complementBounds(
    engine,
    A,
    basis.V.rows,
    draw,
    FAILURE_PROBABILITY,
    rounding.product,
  )) {
    yield bound
    if (++steps >= PROBE_STEPS) return
  }
}

/** The last, and so the sharpest, of what is not empty. */
function last<T>(items: Iterable<T>): T {
  let found: T | undefined
  for (const item of items) found = item
  return found as T
}

/** ‖Aᵀu_i − s_i·v_i‖, formed in float64. */
function residualLengths(A: Operator, { left, S, right }: Triplets): Float64Array {
  const scaled = { ...right, data: right.data.slice() }
  scaleColumns(scaled, S)
  return columnSquares(difference(A.backward(left), scaled)).map(Math.sqrt)
}

function errorsOf(
  A: Operator,
  { S }: Triplets,
  residuals: Float64Array,
  bound: ExcessBound,
  perturbation: number,
): Float64Array {
  const rounding = SUM_EPSILONS * epsilonOf.f64 * Math.sqrt(A.long) * A.frobenius
  const beyond = Math.sqrt(bound.beyond(S.length))
  return S.map((s, i) => {
    // an error E of the matrix moves AᵀA by 2s‖E‖ at the i-th vector, and each eigenvalue by as much
    const moved = 2 * s * (perturbation + rounding)
    const gap = gapAt(i, (at) => S[at] ** 2, bound) - 2 * moved
    const factor = A.isWide ? s : beyond
    return distanceOf(factor * residuals[i] + moved, gap)
  })
}
