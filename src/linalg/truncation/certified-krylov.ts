import type { Matrix } from '../matrix/matrix.ts'
import { epsilonOf } from '../matrix/matrix.ts'
import { rankRange, withinLimits } from '../spectrum/rules.ts'
import { DIRECT_BELOW } from './achieved.ts'
import { excessBound, type Rounding, residualNorms, shiftOf } from './certificate.ts'
import { certifiedTruncation, intervalWidth, OVERSAMPLING, plainTruncation } from './certified-truncation.ts'
import type { Arithmetic } from './columns.ts'
import type { Operator } from './krylov.ts'
import {
  extendBasis,
  type KrylovBasis,
  type KrylovStep,
  leadingRitzVectors,
  nextBlock,
  ritzPairs,
  startBasis,
  startBlock,
} from './krylov.ts'
import type { View } from './proofs.ts'
import { type Draw, uniformColumns } from './streams.ts'
import type { TruncatedSvd, TruncationPlan } from './truncated-svd.ts'

/** Narrow blocks need fewer products to converge; the widest are for ranks where most of the time goes into everything else. */
const BLOCK_WIDTHS = { narrowest: 8, widest: 32 } as const
/** Columns sought for each column of a block, so that a basis has some eight blocks. */
const SOUGHT_PER_COLUMN = 4
/** A basis of this many times rank + oversampling is no worse than a range finder with two power iterations. */
const LEAST_GROWTH = 2.2
/** And its Ritz pairs are worth computing from this many times on: blocks that are narrower than that have gone further. */
const FIRST_GROWTH = 2
/** Blocks beyond the first that this takes at least. */
const LEAST_STEPS = 2
/** A basis of this many times rank + oversampling, eight steps of a full-width block, has converged or won't. */
const MOST_GROWTH = 9
/**
 * The complement of a basis reaches up to some 1.4 to 1.6 times the middle Ritz value on noise, less far where values decay: proving an
 * interval that stays open costs as much as a larger basis.
 */
const REACH = 1.6
/** How far above what a probe has found the bound of the next one will be. */
const PROBE_SLACK = 1.08
/** After an interval that stayed open the basis grows by this factor before the next one. */
const RETRY_GROWTH = 1.15
/** The basis grows by this factor before its Ritz pairs are computed again. */
const LOOK_GROWTH = 1.12
/** Units of round-off: half the distance of 1 to the next number. */
const UNIT: Readonly<Record<Arithmetic, number>> = { f32: epsilonOf.f32 / 2, f64: epsilonOf.f64 / 2 }
/** Units by which eigenvalues of float64 Gram matrices are off, with a margin. */
const SUM_UNITS = 16
/** Of the width of the interval, what rounding may take without being the reason that it stays open. */
const FELT_SHARE = 0.05
/** Float32 iterates are trusted while the error's square is this many round-offs of ‖A‖_F². */
export const FLOAT32_ROUNDOFFS = 4

/** A basis that grows, in one float type. */
export interface Run {
  readonly arithmetic: Arithmetic
  readonly basis: KrylovBasis
  readonly draw: Draw
}

/** What the Ritz pairs promise. */
interface Outlook {
  /** The rank that the rule chooses by the estimates; the order of A where it needs more than the basis shows. */
  readonly rank: number
  /** ‖A‖_F² − Σ_{i≤rank} θ_i, at least what the whole basis leaves. */
  readonly tail: number
  /** The estimate decides the rank, which the basis is large enough for. */
  readonly decided: boolean
  /** And the estimated interval is narrow enough. */
  readonly ready: boolean
  /** What of the square of its lower end is unknown. */
  readonly excess: number
}

/**
 * The truncation by block Krylov iteration, or undefined where the rule's rank is not decided within `plan.cap` columns.
 * Float32 data are iterated in float32 as long as the error is far above its rounding, and in float64 from there on;
 * the triplets returned, and the sums of their squares, are float64 always.
 */
export function certifiedKrylov(
  A: Operator,
  plan: TruncationPlan,
  widened: () => Matrix,
): TruncatedSvd | undefined {
  let run = firstRun(A, plan)
  let lookAt = firstLook(A, plan, run)
  const progress: Progress = { attempts: 0, triedAt: 0, reached: Number.POSITIVE_INFINITY }
  for (;;) {
    const l = run.basis.gram.rows
    const isLast = l + run.basis.lastImage.columns > Math.min(plan.cap, A.short)
    const next = nextBlock(plan.engine, A, run.basis, run.draw)
    if (l >= lookAt || isLast) {
      const view = viewOf(A, plan, run, next)
      const outlook = outlookOf(A, plan, view, progress.reached)
      const verdict = judge(A, plan, view, outlook, isLast, progress, widened)
      if (typeof verdict === 'object') return verdict.result
      lookAt = l * LOOK_GROWTH
      if (verdict === 'too coarse') {
        run = preciseRun(A, plan, view, outlook.rank)
        lookAt = 0
        progress.triedAt = 0
        continue
      }
    }
    run = { ...run, basis: extendBasis(plan.engine, A, run.basis, next) }
  }
}

/** What has been tried on a matrix. */
interface Progress {
  attempts: number
  /** The size of the basis at the last attempt. */
  triedAt: number
  /** What a probe found the complement to reach, which shrinks as the basis grows. */
  reached: number
}

/** What a look at the Ritz pairs comes to: the end, or a run in float64, or a larger basis. */
type Verdict = { readonly result: TruncatedSvd | undefined } | 'too coarse' | 'too small'

function judge(
  A: Operator,
  plan: TruncationPlan,
  view: View,
  outlook: Outlook,
  isLast: boolean,
  progress: Progress,
  widened: () => Matrix,
): Verdict {
  const l = view.pairs.theta.length
  const { rank } = outlook
  const isGrown = isLast || l >= MOST_GROWTH * (rank + OVERSAMPLING)
  if (isRoundedAway(A, view, outlook) || isHeldBack(A, plan, view, outlook, isGrown, progress))
    return 'too coarse'
  if (isHopeless(A, plan, view)) return { result: undefined }
  if (plan.certify === 'none') {
    const isEnough = l >= Math.max(rank + OVERSAMPLING, LEAST_GROWTH * rank) && (outlook.decided || isGrown)
    const result = isEnough ? plainTruncation(A, plan, view, rank) : undefined
    return result !== undefined || isLast ? { result } : 'too small'
  }
  if (!isGrown && !(outlook.ready && l >= progress.triedAt * RETRY_GROWTH)) return 'too small'
  const attempt = {
    index: progress.attempts++,
    isLast: isGrown,
    onReach: (xi: number) => {
      progress.reached = xi
    },
  }
  const result = certifiedTruncation(A, plan, view, rank, attempt, widened)
  if (result?.certificate.closed) return { result }
  if (isGrown && isRoundingFelt(plan, view, outlook)) return 'too coarse'
  if (isLast || (isGrown && result !== undefined)) return { result }
  progress.triedAt = l
  return 'too small'
}

/** Whether the error is of the size of float32's rounding. */
function isRoundedAway(A: Operator, { arithmetic, rounding }: View, { tail }: Outlook): boolean {
  return arithmetic === 'f32' && tail < FLOAT32_ROUNDOFFS * rounding.product * A.frobenius
}

/** Whether float32's rounding of the values takes up some of the width that the interval may have. */
function isRoundingFelt({ goal }: TruncationPlan, view: View, { rank, tail }: Outlook): boolean {
  const { arithmetic, pairs, rounding } = view
  const shifts = pairs.theta.subarray(0, rank).reduce((sum, value) => sum + shiftOf(value, rounding), 0)
  // An interval of this width has a square that is twice as wide.
  return arithmetic === 'f32' && shifts > FELT_SHARE * 2 * goal * tail
}

/**
 * Whether the interval would be narrow, or the rank decided, were it not for float32's rounding. As long as the basis can still
 * grow, rounding must also be the larger part of what is unknown, since the other part shrinks.
 */
function isHeldBack(
  A: Operator,
  plan: TruncationPlan,
  view: View,
  outlook: Outlook,
  isGrown: boolean,
  { reached }: Progress,
): boolean {
  const isDone = (at: Outlook) => (plan.certify === 'none' ? at.decided : at.ready)
  if (view.arithmetic === 'f64' || isDone(outlook)) return false
  const finest = outlookOf(A, plan, { ...view, rounding: roundingOf(A, 'f64', view.rounding.lost) }, reached)
  return isDone(finest) && (isGrown || outlook.excess > 2 * finest.excess)
}

/** Probabilistic rounding analysis (Higham and Mary 2019): sums of n terms are off by about √n units. */
function roundingOf({ long, frobenius }: Operator, arithmetic: Arithmetic, lost: number): Rounding {
  return {
    product: UNIT[arithmetic] * Math.sqrt(long) * frobenius,
    sum: SUM_UNITS * UNIT.f64 * Math.sqrt(long) * frobenius * frobenius,
    lost,
  }
}

const knownRank = (A: Operator, { rule, limits }: TruncationPlan) =>
  withinLimits(rule.kind === 'rank' ? rule.rank : 0, A.short, limits)

function firstRun(A: Operator, plan: TruncationPlan): Run {
  const arithmetic = plan.certify === 'strict' ? 'f64' : A.precision
  const draw = uniformColumns(A.short, arithmetic, plan.keys.known('start'))
  const columns = plan.rule.kind === 'rank' ? knownRank(A, plan) + OVERSAMPLING : Number.POSITIVE_INFINITY
  const block = startBlock(plan.engine, A.short, Math.min(blockWidth(A, columns), plan.cap), draw)
  return { arithmetic, basis: startBasis(plan.engine, A, block), draw }
}

/** The size of the basis at which its Ritz pairs are worth computing. */
function firstLook(A: Operator, plan: TruncationPlan, { basis }: Run): number {
  const blocks = (LEAST_STEPS + 1) * basis.lastImage.columns
  return Math.max(blocks, FIRST_GROWTH * (knownRank(A, plan) + OVERSAMPLING))
}

/** How many columns are multiplied at a time where so many are sought. */
export function blockWidth({ leastColumns }: Pick<Operator, 'leastColumns'>, sought: number): number {
  const { narrowest, widest } = BLOCK_WIDTHS
  const enough = narrowest * Math.round(sought / SOUGHT_PER_COLUMN / narrowest)
  return Math.min(widest, Math.max(narrowest, leastColumns, enough))
}

/** The Ritz pairs of a run whose next block is `next`. */
export function viewOf(
  A: Operator,
  { engine }: Pick<TruncationPlan, 'engine'>,
  run: Run,
  next: KrylovStep,
): View {
  const pairs = ritzPairs(engine, run.basis, next.coupling)
  const norms = residualNorms(engine, pairs.residuals)
  const lost = run.basis.lost + next.lost
  return { ...run, pairs, norms, rounding: roundingOf(A, run.arithmetic, lost) }
}

function outlookOf(
  A: Operator,
  { rule, limits, goal }: TruncationPlan,
  view: View,
  reached: number,
): Outlook {
  const { theta } = view.pairs
  const total = A.frobenius * A.frobenius
  const mu = Math.min(REACH * theta[theta.length >> 1], PROBE_SLACK * reached)
  const { excess, next } = excessBound(view.pairs, view.norms, mu, view.rounding)
  const known = { order: A.short, total, theta, excess, beyond: next, rounding: 0 }
  const { atLeast, atMost: rank } = rankRange(rule, limits, known)
  const tail = theta.subarray(0, rank).reduce((rest, value) => rest - value, total)
  const isShown = rank + OVERSAMPLING <= theta.length
  const isTiny = view.arithmetic === 'f64' && tail < DIRECT_BELOW * total
  const decided = isShown && (isTiny || atLeast === rank)
  const unknown = rank <= theta.length ? excess(rank) : Number.POSITIVE_INFINITY
  const ready = decided && (isTiny || intervalWidth(tail, unknown) <= goal)
  return { rank, tail, decided, ready, excess: unknown }
}

/** The highest rank for which a basis of `cap` columns is large enough. */
export function largestRank(cap: number): number {
  return Math.floor(cap / LEAST_GROWTH) - OVERSAMPLING
}

/** Whether the rule needs a rank out of reach even if the spectrum stays from here on as high as it is now. */
function isHopeless(A: Operator, { rule, limits, cap }: TruncationPlan, { pairs }: View): boolean {
  const { theta } = pairs
  const reach = Math.max(0, largestRank(cap))
  const hopeful =
    rule.kind === 'noise-floor'
      ? theta
      : Float64Array.from({ length: reach }, (_, i) => theta[Math.min(i, theta.length >> 2)])
  const total = A.frobenius * A.frobenius
  const known = { order: A.short, total, theta: hopeful, excess: () => 0, rounding: 0 }
  return rankRange(rule, limits, known).atLeast > reach
}

/** The iteration in float64, from what float32 has found. */
function preciseRun(A: Operator, plan: TruncationPlan, { basis, pairs }: View, rank: number): Run {
  const l = pairs.theta.length
  const count = Math.min(rank + OVERSAMPLING, Math.ceil(l / 2))
  const draw = uniformColumns(A.short, 'f64', plan.keys.known('precise'))
  const block = leadingRitzVectors(plan.engine, basis, pairs, count, draw)
  return { arithmetic: 'f64', basis: startBasis(plan.engine, A, block), draw }
}
