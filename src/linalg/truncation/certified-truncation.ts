import { epsilonOf, leadingColumns, type Matrix } from '../matrix/matrix.ts'
import { rankRange } from '../spectrum/rules.ts'
import { fixSigns, scaleByPowerOfTwo, timesPowerOfTwo } from '../svd/scaling.ts'
import { type Achieved, achieved, DIRECT_BELOW, sumShare } from './achieved.ts'
import type { Operator } from './krylov.ts'
import { type Attempt, FAILURE_PROBABILITY, type Proof, proofs, type View } from './proofs.ts'
import type { Certificate, Interval, TruncatedSvd, TruncationPlan } from './truncated-svd.ts'

/** Columns more than the rank: with them the last triplets converge as well. */
export const OVERSAMPLING = 8
/** Relative singular values below this are near √ε of float64, where eigenvalues of a Gram matrix are rounding error. */
const GRAM_RESOLUTION = 1e-6
/** An error of at most this many epsilons of the data, relative to ‖A‖_F, is rounding. */
const FLOOR_EPSILONS = 4
/** What a proof says. */
interface Conclusion extends Proof {
  readonly rank: number
  readonly optimalError: Interval
  readonly belowRounding: boolean
  readonly closed: boolean
}

/** atMost / atLeast − 1 for the errors √tail and √(tail − excess). */
export function intervalWidth(tail: number, excess: number): number {
  return excess < tail ? 1 / Math.sqrt(1 - excess / tail) - 1 : Number.POSITIVE_INFINITY
}

/**
 * The truncation to what the rule chooses, close to the estimate `rank`, with its certificate, or undefined where the
 * certificate leaves open what the rule chooses. The last attempt on a matrix makes the interval as narrow as it can be.
 */
export function certifiedTruncation(
  A: Operator,
  plan: TruncationPlan,
  view: View,
  rank: number,
  attempt: Attempt,
  widened: () => Matrix,
): TruncatedSvd | undefined {
  const l = view.pairs.theta.length
  // One more than the estimate, in case exact sums fall on the other side of the rule's threshold.
  const count = Math.min(l, plan.rule.kind === 'rank' ? rank : rank + 1)
  const estimate = view.pairs.theta.slice(0, count)
  // nothing may be left of the width of an interval that stays open
  const wanted: TruncationPlan = attempt.isLast ? { ...plan, vectors: 'both' } : plan
  let found: Achieved | undefined
  let conclusion: Conclusion | undefined
  for (const proof of proofs(A, plan, view, attempt, widened)) {
    if (attempt.isLast || isHopeful(A, plan, estimate, proof)) {
      found ??= achieved(A, wanted, view, count)
      conclusion = conclude(A, plan, found, proof)
      if (conclusion?.closed) break
    }
    if (attempt.isLast || proof.best === undefined) continue
    if (!isHopeful(A, plan, estimate, { ...proof, bound: proof.best })) break
  }
  if (conclusion === undefined || found === undefined) return undefined
  const { bound, kind, closed, belowRounding, optimalError } = conclusion
  const spectral = {
    atLeast: Math.sqrt(bound.next(conclusion.rank)),
    atMost: Math.sqrt(bound.beyond(conclusion.rank)),
  }
  return truncation(A, found, conclusion.rank, optimalError, {
    kind,
    failureProbability: kind === 'probabilistic' ? FAILURE_PROBABILITY : 0,
    spectral,
    closed,
    belowRounding,
    ...(closed ? {} : { reason: whyOpen(conclusion, l) }),
  })
}

/**
 * The truncation to what the rule chooses, close to the estimate `rank`, by the float64 values of the basis, with nothing proved
 * but what its own triplets achieve; undefined where the rule asks for more values than the basis shows.
 */
export function plainTruncation(
  A: Operator,
  plan: TruncationPlan,
  view: View,
  rank: number,
): TruncatedSvd | undefined {
  const isGiven = plan.rule.kind === 'rank'
  const count = Math.min(view.pairs.theta.length, isGiven ? rank : rank + OVERSAMPLING)
  const found = achieved(A, plan, view, count)
  const { squares } = found
  const known = {
    order: A.short,
    total: A.frobenius * A.frobenius,
    theta: squares,
    excess: () => 0,
    beyond: (r: number) => squares[r] ?? 0,
    rounding: 0,
  }
  const { atMost } = rankRange(plan.rule, plan.limits, known)
  if (atMost > count) return undefined
  const left = Math.sqrt(found.tail(atMost).atMost)
  return truncation(
    A,
    found,
    atMost,
    { atLeast: 0, atMost: left / A.frobenius },
    {
      kind: 'none',
      failureProbability: 0,
      spectral: { atLeast: 0, atMost: left },
      closed: false,
      belowRounding: false,
      reason: 'no certificate was asked for',
    },
  )
}

/**
 * Whether a proof closes the interval by the Ritz values themselves: triplets are formed once one does. Tails that cancel away in sums
 * are for triplets to tell.
 */
function isHopeful(A: Operator, plan: TruncationPlan, theta: Float64Array, proof: Proof): boolean {
  const total = A.frobenius * A.frobenius
  const rest = (rank: number) => theta.subarray(0, rank).reduce((rest, value) => rest - value, total)
  if (rest(theta.length) <= DIRECT_BELOW * total) return true
  const tail = (rank: number) => ({ atLeast: rest(rank), atMost: rest(rank) })
  const { bound } = proof
  // what is not known of an interval that closes
  const enough = (rank: number) => (1 - 1 / (1 + plan.goal) ** 2) * rest(rank)
  const excess = (rank: number) => bound.excess(rank, enough(rank))
  return (
    conclude(A, plan, { squares: theta, tail }, { ...proof, bound: { ...bound, excess } })?.closed === true
  )
}

/** What a proof says of the rank and the error; undefined where it leaves open what the rule chooses. */
function conclude(
  A: Operator,
  plan: TruncationPlan,
  { squares: theta, tail: tailOf }: Pick<Achieved, 'squares' | 'tail'>,
  proof: Proof,
): Conclusion | undefined {
  const total = A.frobenius * A.frobenius
  const rounding = sumShare(A) * total
  const { excess, beyond } = proof.bound
  const known = { order: A.short, total, theta, excess, beyond, rounding }
  const { atLeast, atMost: rank } = rankRange(plan.rule, plan.limits, known)
  if (atLeast !== rank || rank > theta.length) return undefined
  const tail = tailOf(rank)
  const optimalError = {
    atLeast: Math.sqrt(Math.max(0, tail.atLeast - excess(rank))) / A.frobenius,
    atMost: Math.sqrt(tail.atMost) / A.frobenius,
  }
  const belowRounding = optimalError.atMost <= FLOOR_EPSILONS * epsilonOf[A.precision]
  const isNarrow = optimalError.atMost <= (1 + plan.goal) * optimalError.atLeast
  return { ...proof, rank, optimalError, belowRounding, closed: belowRounding || isNarrow }
}

function whyOpen({ rank, optimalError }: Conclusion, l: number): string {
  const { atLeast, atMost } = optimalError
  if (atMost < GRAM_RESOLUTION) {
    return (
      `an error of ${atMost.toPrecision(2)} of ‖A‖_F comes near what Gram matrices in float64 resolve; ` +
      `only the full SVD tells more`
    )
  }
  const width = atLeast > 0 ? `${((100 * atMost) / atLeast - 100).toPrecision(2)} % wide` : 'open downward'
  return (
    `the singular values around the ${rank}th are too close together: with a basis of ${l} columns the interval ` +
    `is still ${width}; only the full SVD tells more`
  )
}

/** The result in the shape and size of A. */
function truncation(
  A: Operator,
  { triplets, isRough }: Achieved,
  rank: number,
  optimalError: Interval,
  certificate: Certificate,
): TruncatedSvd {
  const left = isRough ? triplets.left : leadingColumns(triplets.left, rank)
  const right = leadingColumns(triplets.right, rank)
  const [U, V] = A.isWide ? [right, left] : [left, right]
  if (!isRough) fixSigns(U, V)
  const S = triplets.S.slice(0, rank)
  scaleByPowerOfTwo(S, A.exponent)
  const { spectral } = certificate
  return {
    U,
    S,
    V,
    rank,
    frobenius: timesPowerOfTwo(A.frobenius, A.exponent),
    optimalError,
    certificate: {
      ...certificate,
      spectral: {
        atLeast: timesPowerOfTwo(spectral.atLeast, A.exponent),
        atMost: timesPowerOfTwo(spectral.atMost, A.exponent),
      },
    },
    method: 'krylov',
    ...(isRough && { isRough }),
  }
}
