import { epsilonOf, leadingColumns, toFloat64, zeros } from '../matrix/matrix.ts'
import { shiftOf } from './certificate.ts'
import { columnRange, inArithmetic, scaleColumns } from './columns.ts'
import { type Operator, type Triplets, tripletsOn } from './krylov.ts'
import { drawFor, ritzVectors, SUM_EPSILONS, type View } from './proofs.ts'
import type { Interval, TruncationPlan } from './truncated-svd.ts'

/** Sums of squares that cancel below this share of ‖A‖_F² are formed from the residual itself. */
export const DIRECT_BELOW = 1e-10
/** Values of an iteration in float32 do where at least this share of ‖A‖_F² is left: what is fitted to the vectors can then be measured by sums. */
export const ROUGH_ABOVE = 1e-3
/** And where their rounding widens the interval by no more than this share of what it may have. */
const ROUGH_SHARE = 1 / 4

/** ‖A − L·diag(S)·Rᵀ‖_F² for the leading `rank` triplets, as an interval that holds it whatever was rounded. */
export type TailOf = (rank: number) => Interval

/** What a basis comes to. */
export interface Achieved {
  readonly triplets: Triplets
  /** The squares of the singular values. */
  readonly squares: Float64Array
  readonly tail: TailOf
  /** As `TruncatedSvd.isRough`: `triplets.left` is [long, 0]. */
  readonly isRough: boolean
}

/** The triplets on the leading `count` Ritz vectors, formed in float64, or as the basis has them where that is enough for what is asked. */
export function achieved(A: Operator, plan: TruncationPlan, view: View, count: number): Achieved {
  return roughly(A, plan, view, count) ?? precisely(A, plan, view, count)
}

function precisely(A: Operator, plan: TruncationPlan, view: View, count: number): Achieved {
  const V = ritzVectors(A, plan, view, count)
  const triplets = tripletsOn(plan.engine, V, A.forward(V), drawFor(A.long, plan))
  const squares = triplets.S.map((s) => s * s)
  return { triplets, squares, tail: tailMeasure(A, triplets), isRough: false }
}

function roughly(
  A: Operator,
  { engine, rule, goal, vectors }: TruncationPlan,
  { arithmetic, basis, pairs, rounding }: View,
  count: number,
): Achieved | undefined {
  if (vectors !== 'short side' || rule.kind !== 'rank' || arithmetic !== 'f32') return undefined
  const squares = pairs.theta.slice(0, count)
  const total = A.frobenius * A.frobenius
  const rest = (rank: number) => squares.subarray(0, rank).reduce((rest, square) => rest - square, total)
  const shifts = (rank: number) =>
    squares.subarray(0, rank).reduce((sum, square) => sum + shiftOf(square, rounding), sumShare(A) * total)
  const left = rest(count)
  if (left < ROUGH_ABOVE * total || shifts(count) > ROUGH_SHARE * goal * left) return undefined
  const rotation = inArithmetic(columnRange(pairs.vectors, 0, count), arithmetic)
  return {
    triplets: {
      left: zeros(A.long, 0),
      S: squares.map(Math.sqrt),
      right: toFloat64(engine.multiply(basis.V.rows, rotation, { transposeA: true })),
    },
    squares,
    tail: (rank) => ({ atLeast: rest(rank) - shifts(rank), atMost: rest(rank) + shifts(rank) }),
    isRough: true,
  }
}

/** What rounding may do to ‖A‖_F² less squares, as a share of ‖A‖_F². */
export const sumShare = (A: Operator): number => SUM_EPSILONS * epsilonOf.f64 * Math.sqrt(A.long)

function tailMeasure(A: Operator, { left, S, right }: Triplets): TailOf {
  const total = A.frobenius * A.frobenius
  return (rank) => {
    const rest = S.subarray(0, rank).reduce((left, s) => left - s * s, total)
    const slack = sumShare(A) * total
    if (rest > DIRECT_BELOW * total) return { atLeast: rest - slack, atMost: rest + slack }
    const scaledLeft = leadingColumns(left, rank)
    scaleColumns(scaledLeft, S)
    const error = Math.sqrt(A.residualSquared(scaledLeft, leadingColumns(right, rank)))
    const shift = sumShare(A) * A.frobenius
    return { atLeast: Math.max(0, error - shift) ** 2, atMost: (error + shift) ** 2 }
  }
}
