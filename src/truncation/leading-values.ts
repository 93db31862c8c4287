import type { HalfMatrix, Matrix } from '../matrix/matrix.ts'
import { scaleByPowerOfTwo, timesPowerOfTwo } from '../svd/power-scale.ts'
import { excessBound, shiftOf } from './certificate.ts'
import { FLOAT32_ROUNDOFFS, OVERSAMPLING, type Run, viewOf, WIDEST_BLOCK } from './certified-krylov.ts'
import { DIRECT_BELOW, FAILURE_PROBABILITY, intervalWidth, type View } from './certified-truncation.ts'
import { complementBounds } from './complement-bound.ts'
import { normalColumns, uniformColumns } from './draws.ts'
import { extendBasis, leadingRitzVectors, nextBlock, startBasis, startBlock } from './krylov.ts'
import { type Operator, shortSideOperator } from './operator.ts'
import type { Interval, TruncationEngine } from './types.ts'

/** With a basis of this many times count + oversampling the values above the bulk of a spectrum have converged. */
const LEAST_GROWTH = 2.2
/** Where values fall slowly, this many times brings them within a few percent; a flat bulk would need far more. */
const MOST_GROWTH = 3.5
/** Steps of the probe at most: its bound is then about twice the truth, at a third of the cost of the iteration. */
const PROBE_STEPS = 4
/** The share of the energy beyond the values that rounding in float32 may hide; what hides more is summed in float64. */
const HIDDEN_SHARE = 1e-3

/** The leading singular values of a matrix, without vectors. */
export interface LeadingValues {
  /** Lower bounds of the true ones, within `rounding`; non-increasing. */
  readonly S: Float64Array
  /** ‖A‖_F. */
  readonly frobenius: number
  /** At [r], at least Σ_{i≤r} (σ_i² − S_i²) / ‖A‖_F². */
  readonly excesses: Float64Array
  /** How far each S_i / ‖A‖_F and ΣS_i² / ‖A‖_F² may be off by rounding. */
  readonly rounding: { readonly value: number; readonly squares: number }
  /** The first singular value beyond S. */
  readonly next: Interval
  /** That `excesses` or `next` is wrong. */
  readonly failureProbability: number
}

export interface LeadingValuesOptions {
  readonly engine: TruncationEngine
  /** Seed and name of the random streams. */
  readonly label: string
  /** Width of the interval of the error at rank `count` at which to stop: atMost / atLeast − 1. */
  readonly goal: number
}

/** Ritz values that rounding hides no more than `hidden` of. */
interface Summed {
  readonly theta: Float64Array
  /** How far Σθ may be off. */
  readonly hidden: number
}

/** The columns that the basis for `count` values has at least. */
export const leastBasis = (count: number): number => Math.ceil(LEAST_GROWTH * (count + OVERSAMPLING))

/**
 * The `count` leading singular values of A [m, k] by the iteration of the truncated SVD, with bounds on what they miss. For
 * looking at a spectrum: it stops early and forms no triplets. Values that stand out have converged; those in a flat bulk
 * are a few percent low, and the bounds say so. `leastBasis(count)` must be at most min(m, k).
 * Throws LoraSvdError 'not-finite'.
 */
export function leadingValues(
  A: Matrix | HalfMatrix,
  count: number,
  options: LeadingValuesOptions,
): LeadingValues {
  const operator = shortSideOperator(options.engine, A)
  try {
    if (operator.frobenius === 0) return allZero(count)
    const view = grownView(operator, count, options)
    return bounded(operator, view, summed(operator, view, count, options), options)
  } finally {
    operator.release()
  }
}

const allZero = (count: number): LeadingValues => ({
  S: new Float64Array(count),
  frobenius: 0,
  excesses: new Float64Array(count + 1),
  rounding: { value: 0, squares: 0 },
  next: { atLeast: 0, atMost: 0 },
  failureProbability: 0,
})

/** A basis that shows `count` values as well as the goal asks, or as large as pays. */
function grownView(A: Operator, count: number, { engine, label, goal }: LeadingValuesOptions): View {
  const arithmetic = A.precision
  const draw = uniformColumns(A.short, arithmetic, `${label}/start`)
  const width = Math.min(count + OVERSAMPLING, WIDEST_BLOCK)
  const most = MOST_GROWTH * (count + OVERSAMPLING)
  let run: Run = { arithmetic, draw, basis: startBasis(A, startBlock(engine, A.short, width, draw)) }
  for (;;) {
    const next = nextBlock(engine, A, run.basis, draw)
    const l = run.basis.V.columns
    if (l >= leastBasis(count)) {
      const view = viewOf(A, { engine }, run, next)
      const { theta } = view.pairs
      // The complement reaches about as far up as the half of the Ritz values that has not converged.
      const { excess } = excessBound(view.pairs, view.norms, theta[l >> 1], view.rounding)
      const isNarrow = intervalWidth(restOf(A, theta.subarray(0, count)), excess(count)) <= goal
      if (isNarrow || l + run.basis.lastBlock > Math.min(most, A.short)) return view
    }
    run = { ...run, basis: extendBasis(A, run.basis, next) }
  }
}

/** ‖A‖_F² − Σθ. */
const restOf = (A: Operator, theta: Float64Array): number =>
  Math.max(
    0,
    theta.reduce((rest, value) => rest - value, A.frobenius * A.frobenius),
  )

/** The first `count` Ritz values; those whose rounding would hide too much of the rest are formed again in float64. */
function summed(
  A: Operator,
  { basis, pairs, rounding }: View,
  count: number,
  { engine, label }: LeadingValuesOptions,
): Summed {
  const theta = pairs.theta.slice(0, count)
  const allowed = HIDDEN_SHARE * restOf(A, theta)
  let hidden = rounding.sum
  let again = count
  while (again > 0 && hidden + shiftOf(theta[again - 1], rounding) <= allowed) {
    again--
    hidden += shiftOf(theta[again], rounding)
  }
  if (again === 0 || A.precision === 'f64') {
    return { theta, hidden: theta.reduce((sum, value) => sum + shiftOf(value, rounding), rounding.sum) }
  }
  const draw = uniformColumns(A.short, 'f64', `${label}/complete`)
  const V = leadingRitzVectors(engine, basis, pairs, again, draw)
  const { values } = engine.symmetricEigen(engine.gram(A.forward(V)), 'none')
  for (let i = 0; i < again; i++) theta[i] = Math.max(0, values[values.length - 1 - i])
  return { theta: theta.sort().reverse(), hidden }
}

function bounded(
  A: Operator,
  view: View,
  { theta, hidden }: Summed,
  { engine, label, goal }: LeadingValuesOptions,
): LeadingValues {
  const { pairs, norms, rounding, basis, arithmetic } = view
  const total = A.frobenius * A.frobenius
  const count = theta.length
  const tail = restOf(A, theta)
  const rest = tail + hidden
  // What the whole basis leaves of ‖A‖_F² bounds every eigenvalue of its complement.
  const further = pairs.theta.subarray(count)
  const leftover =
    further.reduce((left, value) => left - value, tail) +
    further.reduce((sum, value) => sum + shiftOf(value, rounding), hidden)
  let bound = excessBound(pairs, norms, Math.max(leftover, hidden), rounding)
  let failureProbability = 0
  const isNarrow = () => intervalWidth(tail, bound.excess(count) + hidden) <= goal
  const tiny = Math.max(
    DIRECT_BELOW * total,
    arithmetic === 'f32' ? FLOAT32_ROUNDOFFS * rounding.product * A.frobenius : 0,
  )
  if (!isNarrow() && tail > tiny) {
    const draw = normalColumns(A.short, arithmetic, `${label}/probe/0`)
    let steps = 0
    failureProbability = FAILURE_PROBABILITY
    for (const { mu } of complementBounds(engine, A, basis.V, draw, failureProbability, rounding.product)) {
      bound = excessBound(pairs, norms, Math.min(mu, leftover), rounding)
      if (++steps >= PROBE_STEPS || isNarrow()) break
    }
  }
  const excesses = new Float64Array(count + 1)
  excesses[count] = Math.min(bound.excess(count), rest) / total
  for (let r = count - 1; r > 0; r--) {
    // Every term is positive, so that what bounds more of them bounds fewer.
    excesses[r] = Math.min(bound.excess(r) / total, excesses[r + 1])
  }
  const S = theta.map(Math.sqrt)
  scaleByPowerOfTwo(S, A.exponent)
  const unscaled = (square: number) => timesPowerOfTwo(Math.sqrt(square), A.exponent)
  return {
    S,
    frobenius: timesPowerOfTwo(A.frobenius, A.exponent),
    excesses,
    rounding: {
      value: (rounding.product + Math.sqrt(rounding.sum)) / A.frobenius,
      squares: hidden / total,
    },
    next: {
      atLeast: unscaled(Math.min(bound.next(count), bound.beyond(count))),
      atMost: unscaled(Math.min(bound.beyond(count), rest)),
    },
    failureProbability,
  }
}
