import { type HalfMatrix, type Matrix, transpose } from '../matrix/matrix.ts'
import { scaleByPowerOfTwo, timesPowerOfTwo } from '../svd/scaling.ts'
import { DIRECT_BELOW } from './achieved.ts'
import { type ExcessBound, excessBound, shiftOf } from './certificate.ts'
import { blockWidth, FLOAT32_ROUNDOFFS, viewOf } from './certified-krylov.ts'
import { intervalWidth, OVERSAMPLING } from './certified-truncation.ts'
import { inArithmetic } from './columns.ts'
import { complementBounds } from './complement-bound.ts'
import {
  extendBasis,
  leadingRitzVectors,
  nextBlock,
  type Operator,
  shortSideOperator,
  startBasis,
  startBlock,
} from './krylov.ts'
import { FAILURE_PROBABILITY, type View } from './proofs.ts'
import { normalColumns, type StreamKeys, uniformColumns } from './streams.ts'
import type { Interval, TruncationEngine } from './truncated-svd.ts'

/** With a basis of this many times count + oversampling the values above the bulk of a spectrum have converged. */
const GROWTH = 1.5
/** Blocks of the basis at least: two steps from the first, without which nothing has converged. */
const LEAST_BLOCKS = 3
/** Steps of the probe: after five its bound is within three quarters of the truth, after more it is dear. */
const PROBE_STEPS = 5
/** Steps of the probe where its bound decides how many values are above a floor. */
const MOST_PROBE_STEPS = 12
/** The share of the energy beyond the values that rounding in float32 may hide; what hides more is summed in float64. */
const HIDDEN_SHARE = 1e-3
/** Ranks whose excess is bounded in each octave; it grows with the rank, so that the next one's serves those between. */
const RANKS_PER_OCTAVE = 4

/** The leading singular values of a matrix, without vectors. */
export interface LeadingValues {
  /** Lower bounds of the true ones, within `rounding`; non-increasing. */
  readonly S: Float64Array
  /** ‖A‖_F. */
  readonly frobenius: number
  /** Upper bounds of the same, non-increasing. */
  readonly upper: Float64Array
  /** At [r], at least Σ_{i≤r} (σ_i² − S_i²) / ‖A‖_F², non-decreasing. */
  readonly excesses: Float64Array
  /** How far each S_i / ‖A‖_F and ΣS_i² / ‖A‖_F² may be off by rounding. */
  readonly rounding: { readonly value: number; readonly squares: number }
  /** The first singular value beyond S. */
  readonly next: Interval
  /** That a bound is wrong. */
  readonly failureProbability: number
}

export interface LeadingValuesOptions {
  readonly engine: TruncationEngine
  /** Keys of the random streams that this matrix draws from. */
  readonly keys: StreamKeys
  /** Width of the interval of the error at rank `count` that is narrow enough: atMost / atLeast − 1. */
  readonly goal: number
  /** How many singular values exceed this is to be decided, where `count` reaches below it. */
  readonly floor?: number
  /** ‖A‖_F where it is known already, from sums in float64. */
  readonly frobenius?: number | undefined
}

/** Ritz values that rounding hides no more than `hidden` of. */
interface Summed {
  readonly theta: Float64Array
  /** How far Σθ may be off. */
  readonly hidden: number
}

/** The columns of the basis for `count` values. */
export const basisColumns = (count: number): number => Math.ceil(GROWTH * (count + OVERSAMPLING))

/** Its blocks: as few as their width allows, all equally wide. */
function blocksOf(A: Operator, count: number): { readonly blocks: number; readonly width: number } {
  const columns = basisColumns(count)
  const blocks = Math.max(LEAST_BLOCKS, Math.ceil(columns / blockWidth(A, count + OVERSAMPLING)))
  return { blocks, width: Math.ceil(columns / blocks) }
}

/**
 * The `count` leading singular values of A [m, k] by the iteration of the truncated SVD, with bounds on what they miss. For
 * looking at a spectrum: it takes one basis and forms no triplets. Values that stand out have converged; those in a flat
 * bulk are some percent low, and the bounds say so. The basis must have fewer columns than min(m, k).
 * Throws LoraSvdError 'not-finite'.
 */
export function leadingValues(
  A: Matrix | HalfMatrix,
  count: number,
  options: LeadingValuesOptions,
): LeadingValues {
  const operator = shortSideOperator(options.engine, A, options.frobenius)
  try {
    if (operator.frobenius === 0) return allZero(count)
    const view = viewFor(operator, count, options)
    return bounded(operator, view, summed(operator, view, count, options), options)
  } finally {
    operator.release()
  }
}

const allZero = (count: number): LeadingValues => ({
  S: new Float64Array(count),
  frobenius: 0,
  upper: new Float64Array(count),
  excesses: new Float64Array(count + 1),
  rounding: { value: 0, squares: 0 },
  next: { atLeast: 0, atMost: 0 },
  failureProbability: 0,
})

/** The basis for `count` values with its Ritz pairs. */
function viewFor(A: Operator, count: number, { engine, keys }: LeadingValuesOptions): View {
  const { blocks, width } = blocksOf(A, count)
  const draw = uniformColumns(A.short, A.precision, keys.known('start'))
  let basis = startBasis(engine, A, startBlock(engine, A.short, width, draw))
  let next = nextBlock(engine, A, basis, draw)
  for (let i = 1; i < blocks; i++) {
    basis = extendBasis(engine, A, basis, next)
    next = nextBlock(engine, A, basis, draw)
  }
  return viewOf(A, { engine }, { arithmetic: A.precision, basis, draw }, next)
}

/** The first `count` Ritz values; those whose rounding would hide too much of the rest are formed again in float64. */
function summed(A: Operator, view: View, count: number, options: LeadingValuesOptions): Summed {
  const { pairs, rounding } = view
  const theta = pairs.theta.slice(0, count)
  if (A.precision === 'f64') return summedAgain(A, view, theta, 0, options)
  const allowed = HIDDEN_SHARE * restOf(A, theta)
  let hidden = rounding.sum
  let again = count
  while (again > 0 && hidden + shiftOf(theta[again - 1], rounding) <= allowed) {
    again--
    hidden += shiftOf(theta[again], rounding)
  }
  const result = summedAgain(A, view, theta, again, options)
  // What float32 took for the rest may itself have been rounding.
  const isHidden = again < count && result.hidden > HIDDEN_SHARE * restOf(A, result.theta)
  return isHidden ? summedAgain(A, view, theta, count, options) : result
}

/** The same values with the first `again` of them formed again in float64. */
function summedAgain(
  A: Operator,
  view: View,
  values: Float64Array,
  again: number,
  options: LeadingValuesOptions,
): Summed {
  const { rounding } = view
  const hidden = values.subarray(again).reduce((sum, value) => sum + shiftOf(value, rounding), rounding.sum)
  if (again === 0) return { theta: values, hidden }
  const { engine } = options
  const W = A.forward(ritzVectors(A, view, again, options))
  const squares = engine.symmetricEigen(engine.gram(W), 'none').values
  const theta = values.slice()
  for (let i = 0; i < again; i++) theta[i] = Math.max(0, squares[again - 1 - i])
  return { theta: theta.sort().reverse(), hidden }
}

/** ‖A‖_F² − Σθ. */
const restOf = (A: Operator, theta: Float64Array): number =>
  Math.max(
    0,
    theta.reduce((rest, value) => rest - value, A.frobenius * A.frobenius),
  )

/** What bounds the values that are not known, and the squares of those that are. */
interface Bounds {
  readonly excess: (r: number) => number
  /** At least σ_{r+1}². */
  readonly beyond: (r: number) => number
  readonly failureProbability: number
}

function bounded(
  A: Operator,
  view: View,
  { theta, hidden }: Summed,
  options: LeadingValuesOptions,
): LeadingValues {
  const count = theta.length
  const total = A.frobenius * A.frobenius
  const rest = restOf(A, theta) + hidden
  const { excess, beyond, failureProbability } = boundsOf(A, view, { theta, hidden }, options)
  const value = (view.rounding.product + Math.sqrt(view.rounding.sum)) / A.frobenius
  const excesses = excessesUpTo(count, (r) => Math.min(excess(r), rest) / total)
  const upper = theta.map((square, i) => {
    const single = (Math.sqrt(square) + value * A.frobenius) ** 2
    return Math.sqrt(Math.min(beyond(i), single + excesses[i + 1] * total))
  })
  for (let i = 1; i < count; i++) upper[i] = Math.min(upper[i], upper[i - 1])
  const S = theta.map(Math.sqrt)
  for (const values of [S, upper]) scaleByPowerOfTwo(values, A.exponent)
  const rootOf = (square: number) => timesPowerOfTwo(Math.sqrt(square), A.exponent)
  const below = Math.max(0, Math.sqrt(view.pairs.theta[count]) - value * A.frobenius) ** 2
  return {
    S,
    upper,
    frobenius: timesPowerOfTwo(A.frobenius, A.exponent),
    excesses,
    rounding: { value, squares: hidden / total },
    next: { atLeast: rootOf(below), atMost: rootOf(Math.max(below, Math.min(beyond(count), rest))) },
    failureProbability,
  }
}

/** Bounds from what the basis leaves of ‖A‖_F² where that is close enough, else from a probe. */
function boundsOf(A: Operator, view: View, { theta, hidden }: Summed, options: LeadingValuesOptions): Bounds {
  const { pairs, norms, rounding, arithmetic } = view
  const count = theta.length
  const tail = restOf(A, theta)
  const further = pairs.theta.subarray(count)
  const leftover =
    Math.max(
      0,
      further.reduce((left, value) => left - value, tail),
    ) + further.reduce((sum, value) => sum + shiftOf(value, rounding), hidden)
  const certain = excessBound(pairs, norms, leftover, rounding)
  const isNarrow = ({ excess }: ExcessBound) => intervalWidth(tail, excess(count) + hidden) <= options.goal
  // Below this a matrix is one of low rank, and what is left of it is rounding.
  const tiny =
    arithmetic === 'f32'
      ? FLOAT32_ROUNDOFFS * rounding.product * A.frobenius
      : DIRECT_BELOW * A.frobenius * A.frobenius
  const square = options.floor === undefined ? 0 : timesPowerOfTwo(options.floor, -A.exponent) ** 2
  const above = theta.findIndex((value) => value <= square)
  if (tail <= tiny || (above < 0 && isNarrow(certain))) return { ...certain, failureProbability: 0 }
  if (above >= 0) return boundsAbove(A, view, above, square, options)

  let steps = 0
  let bound = certain
  for (const { mu } of probe(A, view, view.basis.V.rows, options)) {
    bound = excessBound(pairs, norms, Math.min(mu, leftover), rounding)
    if (++steps >= PROBE_STEPS || isNarrow(bound)) break
  }
  return { ...bound, failureProbability: FAILURE_PROBABILITY }
}

/**
 * Bounds that decide whether `above` singular values exceed the root of `square`: the probe bounds all that is orthogonal to
 * their vectors, hence every other value, and what is orthogonal to the whole basis too.
 */
function boundsAbove(
  A: Operator,
  view: View,
  above: number,
  square: number,
  options: LeadingValuesOptions,
): Bounds {
  const { pairs, norms, rounding } = view
  const V = transpose(inArithmetic(ritzVectors(A, view, above, options), view.arithmetic)) as Matrix
  let steps = 0
  let most = Number.POSITIVE_INFINITY
  for (const { mu } of probe(A, view, V, options)) {
    most = mu
    if (++steps >= MOST_PROBE_STEPS || most <= square) break
  }
  const { excess, beyond } = excessBound(pairs, norms, most, rounding)
  const further = (r: number) =>
    pairs.theta.subarray(above, r).reduce((sum, value) => sum + Math.max(0, most - value), 0)
  return {
    excess: (r) => (r <= above ? excess(r) : Math.min(excess(r), excess(above) + further(r))),
    beyond: (r) => (r < above ? beyond(r) : Math.min(beyond(r), most)),
    failureProbability: FAILURE_PROBABILITY,
  }
}

/** Sharper and sharper bounds on the largest eigenvalue of AᵀA on the complement of orthonormal rows. */
const probe = (A: Operator, { arithmetic, rounding }: View, V: Matrix, options: LeadingValuesOptions) =>
  complementBounds(
    options.engine,
    A,
    V,
    normalColumns(A.short, arithmetic, options.keys.independent('probe/0')),
    FAILURE_PROBABILITY,
    rounding.product,
  )

function ritzVectors(
  A: Operator,
  { basis, pairs }: View,
  count: number,
  { engine, keys }: LeadingValuesOptions,
): Matrix {
  return leadingRitzVectors(
    engine,
    basis,
    pairs,
    count,
    uniformColumns(A.short, 'f64', keys.known('complete')),
  )
}

/** The bound at [r] for r = 0 … count, computed for some ranks: the terms are positive, so more bound fewer. */
function excessesUpTo(count: number, bound: (r: number) => number): Float64Array {
  const excesses = new Float64Array(count + 1).fill(Number.POSITIVE_INFINITY)
  for (let r = 1; r < count; r += Math.ceil(r / RANKS_PER_OCTAVE)) excesses[r] = bound(r)
  excesses[0] = 0
  if (count > 0) excesses[count] = bound(count)
  for (let r = count - 1; r > 0; r--) excesses[r] = Math.min(excesses[r], excesses[r + 1])
  return excesses
}
