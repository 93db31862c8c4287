import { epsilonOf, type Matrix, toFloat64, transpose } from '../matrix/matrix.ts'
import {
  type ExcessBound,
  excessBound,
  leftoverEnergy,
  type ResidualNorms,
  type Rounding,
} from './certificate.ts'
import { choleskyBound, projectedGram, shortGram } from './cholesky-bound.ts'
import { type Arithmetic, inArithmetic } from './columns.ts'
import { complementBounds } from './complement-bound.ts'
import { type KrylovBasis, leadingRitzVectors, type Operator, type RitzPairs, scaledBy } from './krylov.ts'
import { type Draw, normalColumns, uniformColumns } from './streams.ts'
import type { TruncationPlan } from './truncated-svd.ts'

/** A basis with its Ritz pairs and how far they are from singular triplets. */
export interface View {
  readonly arithmetic: Arithmetic
  readonly basis: KrylovBasis
  readonly pairs: RitzPairs
  readonly norms: ResidualNorms
  readonly rounding: Rounding
}

/** Steps of the probe at most: its bound is then within a tenth of the truth. */
const MOST_PROBE_STEPS = 12
/** And hardly nearer to ξ than this, as measured on noise. */
const BEST_RATIO = 1.06
/** Steps of the probe whose ξ a Cholesky factorization starts from. */
const STRICT_PROBE_STEPS = 6
/** Multiples of ξ that are tried as the bound of the complement, one Cholesky factorization each. */
const STRICT_RATIOS = [1.05, 1.2, 2]
/** That a probabilistic certificate of one call is wrong, all its attempts together. */
export const FAILURE_PROBABILITY = 1e-9
/** Rounding of ‖A‖_F² − Σθ in float64, in epsilons times the root of the longer side, relative to ‖A‖_F². */
export const SUM_EPSILONS = 8

/** A bound on Σσ² − Σθ, and how it was had. */
export interface Proof {
  readonly bound: ExcessBound
  readonly kind: 'deterministic' | 'probabilistic'
  /** What the bound could at best become with more work on it. */
  readonly best?: ExcessBound
}

/** One of the attempts on a matrix. */
export interface Attempt {
  readonly index: number
  readonly isLast: boolean
  /** What the probe finds the complement of the basis to reach at least. */
  readonly onReach: (xi: number) => void
}

/** Proofs from the cheapest to the dearest, each stronger than the one before. */
export function* proofs(
  A: Operator,
  plan: TruncationPlan,
  view: View,
  { index, onReach }: Attempt,
  widened: () => Matrix,
): Generator<Proof, void, void> {
  const { arithmetic, pairs, norms, rounding } = view
  const deflated = deflatedBy(A, plan, view)
  // `most` bounds what is orthogonal to the deflated vectors, `mu` what is so to the whole basis.
  const boundFor = (mu: number, most = Number.POSITIVE_INFINITY): ExcessBound => {
    const bound = excessBound(pairs, norms, mu, rounding)
    return {
      ...bound,
      beyond: (r) => (r < deflated.rows ? bound.beyond(r) : Math.min(bound.beyond(r), most)),
    }
  }
  const leftover = leftoverEnergy(pairs, A.frobenius * A.frobenius, rounding)
  yield { bound: boundFor(leftover), kind: 'deterministic' }

  const draw = normalColumns(A.short, arithmetic, plan.keys.independent(`probe/${index}`))
  // Attempts share the probability: a half, a quarter, …
  const failure = FAILURE_PROBABILITY / 2 ** (index + 1)
  const isStrict = plan.certify === 'strict'
  let steps = 0
  let largest = 0
  for (const { xi, mu } of complementBounds(plan.engine, A, deflated, draw, failure, rounding.product)) {
    largest = xi
    onReach(xi)
    if (!isStrict)
      yield {
        bound: boundFor(Math.min(mu, leftover), mu),
        kind: 'probabilistic',
        best: boundFor(BEST_RATIO * xi, BEST_RATIO * xi),
      }
    if (++steps >= (isStrict ? STRICT_PROBE_STEPS : MOST_PROBE_STEPS)) break
  }
  if (isStrict) yield* strictProofs(A, plan, deflated, largest, (mu) => boundFor(mu, mu), widened)
}

/**
 * What the bounds are orthogonal to, as rows: the basis, or for a noise floor only the vectors of the values above it. Then the bound
 * is one on every other value, which the basis with its residuals leaves open where a bulk of values lies below the floor.
 */
function deflatedBy(A: Operator, plan: TruncationPlan, view: View): Matrix {
  const { rule } = plan
  if (rule.kind !== 'noise-floor') return view.basis.V.rows
  const above = view.pairs.theta.filter((value) => value > rule.floor ** 2).length
  return transpose(inArithmetic(ritzVectors(A, plan, view, above), view.arithmetic)) as Matrix
}

/** Cholesky factorizations that prove what the probe made likely. */
function* strictProofs(
  A: Operator,
  { engine }: TruncationPlan,
  V: Matrix,
  xi: number,
  boundFor: (mu: number) => ExcessBound,
  widened: () => Matrix,
): Generator<Proof, void, void> {
  const G = shortGram(engine, scaledBy(widened(), -A.exponent))
  const projected = projectedGram(engine, G, toFloat64(transpose(V) as Matrix))
  const rounding = SUM_EPSILONS * epsilonOf.f64 * Math.sqrt(A.long) * A.frobenius * A.frobenius
  for (const ratio of STRICT_RATIOS) {
    const mu = choleskyBound(engine, projected, ratio * xi + rounding)
    if (mu === undefined) continue
    yield { bound: boundFor(mu + rounding), kind: 'deterministic' }
    return
  }
}

/** The first `count` Ritz vectors of a basis, orthonormal in float64. */
export function ritzVectors(A: Operator, plan: TruncationPlan, { basis, pairs }: View, count: number) {
  return leadingRitzVectors(plan.engine, basis, pairs, count, drawFor(A.short, plan))
}

/** Columns for bases that have fewer independent ones than they need. */
export function drawFor(rows: number, { keys }: TruncationPlan): Draw {
  let draw: Draw | undefined
  return (columns) => {
    draw ??= uniformColumns(rows, 'f64', keys.known('complete'))
    return draw(columns)
  }
}
