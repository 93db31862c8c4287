import type { Engine, HalfMatrix } from '../engine.ts'
import { widened } from '../matrix/half.ts'
import { epsilonOf, type Float64Matrix, floatType, type Matrix, zeros } from '../matrix/matrix.ts'
import { optimalError, stableRank } from '../spectrum/ranks.ts'
import { chooseRank, type RankLimits, type RankRule, withinLimits } from '../spectrum/rules.ts'
import { timesPowerOfTwo } from '../svd/scaling.ts'
import { certifiedKrylov, largestRank } from './certified-krylov.ts'
import { OVERSAMPLING } from './certified-truncation.ts'
import { shortSideOperator } from './krylov.ts'
import { type Digested, type StreamKeys, streamKeys } from './streams.ts'

export type TruncationEngine = Pick<
  Engine,
  'multiply' | 'gram' | 'symmetricEigen' | 'svd' | 'leadingSvd' | 'resident'
>

/** A closed interval. */
export interface Interval {
  readonly atLeast: number
  readonly atMost: number
}

export interface Certificate {
  /** 'probabilistic' holds but for `failureProbability`, over the tool's own seed; 'none' where none was asked for. */
  readonly kind: 'deterministic' | 'probabilistic' | 'none'
  readonly failureProbability: number
  /** ‖A − A_r‖₂ = σ_{r+1} of the best approximation, in the unit of A's entries. */
  readonly spectral: Interval
  /** The interval of the relative error is as narrow as asked, or its error below what the data's precision can show. */
  readonly closed: boolean
  /** The relative error is at most 4 epsilons of the data's type: a matrix of this rank, but for rounding. */
  readonly belowRounding: boolean
  /** Why the interval is not closed. */
  readonly reason?: string
}

/** A ≈ U·diag(S)·Vᵀ: U [m, r] and V [k, r] orthonormal, S [r] non-increasing, the largest entry of each left vector positive. */
export interface TruncatedSvd {
  readonly U: Float64Matrix
  readonly S: Float64Array
  readonly V: Float64Matrix
  readonly rank: number
  /** All singular values, where the method computes them. */
  readonly spectrum?: Float64Array
  /** ‖A‖_F. */
  readonly frobenius: number
  /** ‖A − A_r‖_F / ‖A‖_F of the best approximation; `atMost` is also what these U, S, V achieve. */
  readonly optimalError: Interval
  readonly certificate: Certificate
  readonly method: 'krylov' | 'full'
  /** Those of the long side, [m, 0] or [k, 0], were left out as `vectors` allows; S and the others are those of an iteration in float32, off by its rounding. */
  readonly isRough?: true
}

/** How the error of the best factors is bounded: 'strict' leaves nothing to the seed, 'none' saves the time. */
export type Certify = 'default' | 'strict' | 'none'

export interface TruncationOptions {
  readonly engine: TruncationEngine
  readonly limits?: RankLimits
  /** Same seed, name and entries, same bits. 0 when left out. */
  readonly seed?: bigint | number
  /** Such as the tensor's: gives each matrix its own random stream, whatever the order of work. */
  readonly name?: string
  readonly certify?: Certify
  /** Width of the interval at which to stop: atMost / atLeast − 1. 0.01 when left out. */
  readonly goal?: number
  /**
   * Largest share of the short side that the Krylov basis may take before the full SVD does it: 0 for the full SVD at once,
   * above 1 to always try.
   */
  readonly largestShare?: number
  /** ‖A‖_F where it is known already, from sums in float64. */
  readonly frobenius?: number | undefined
  /**
   * 'short side' where the vectors of the long side aren't needed, since something is fitted to the others: spares a product in float64 where
   * the rank is given and float32 is enough for the interval. 'both' when left out.
   */
  readonly vectors?: 'both' | 'short side'
}

/** What to do, all defaults filled in. */
export interface TruncationPlan {
  readonly engine: TruncationEngine
  readonly rule: RankRule
  readonly limits: RankLimits
  /** Keys of the random streams that this matrix draws from. */
  readonly keys: StreamKeys
  readonly certify: NonNullable<TruncationOptions['certify']>
  readonly goal: number
  /** Most columns of the basis. */
  readonly cap: number
  readonly vectors?: TruncationOptions['vectors']
}

/** Up to here the full SVD takes a few milliseconds. */
const ALWAYS_FULL_ORDER = 128
const GOAL = 0.01
/** What a basis may grow to while a rank is looked for. */
const LARGEST_SHARE = 1 / 2
/**
 * Where this share of the order is sought, all values and the leading vectors cost no more than a basis and its certificate (measured for orders 192 to
 * 1024, with the embedded engine and OpenBLAS).
 */
const LEADING_SHARE = 0.19
/** Up to this order the full SVD, a second or so, closes what the certificate leaves open. */
const FULL_WHEN_OPEN_ORDER = 1024

/**
 * The leading singular triplets of A [m, k], as many as `rule` asks for within the limits, with an interval that holds the
 * error of the best approximation of that rank. For rules on the error the rank is the one that all singular values
 * would give, unless `certify` is 'none'. Block Krylov iteration; the full SVD where the rank is a large share of
 * min(m, k) or where the certificate doesn't decide the rank. Entries must be finite.
 */
export function truncatedSvd(
  A: Matrix | HalfMatrix,
  rule: RankRule,
  options: TruncationOptions & Digested,
): TruncatedSvd {
  const { engine, limits = {}, seed = 0, name = '', certify = 'default', goal = GOAL } = options
  const order = Math.min(A.rows, A.columns)
  const cap = Math.floor(order * (options.largestShare ?? LARGEST_SHARE))
  const plan = {
    engine,
    rule,
    limits,
    keys: streamKeys(A, seed, name, options),
    certify,
    goal,
    cap,
    vectors: options.vectors,
  }
  const wide = () => widened(A)
  const known = rule.kind === 'rank' ? rule.rank : 0
  const sought = withinLimits(known, order, limits)
  const isDense = order <= ALWAYS_FULL_ORDER || sought + OVERSAMPLING > LEADING_SHARE * order
  if ((isDense && options.largestShare === undefined) || sought > largestRank(cap))
    return fullTruncation(wide(), plan)
  const operator = shortSideOperator(engine, A, options.frobenius)
  try {
    if (operator.frobenius === 0) return zeroTruncation(A, sought)
    const result = certifiedKrylov(operator, { ...plan, rule: scaledRule(rule, -operator.exponent) }, wide)
    const isEnough = certify === 'none' || order > FULL_WHEN_OPEN_ORDER || options.largestShare !== undefined
    if (result?.certificate.closed || (result !== undefined && isEnough)) return result
  } finally {
    operator.release()
  }
  return fullTruncation(wide(), plan)
}

/** The rule for 2^e · A. */
function scaledRule(rule: RankRule, e: number): RankRule {
  return rule.kind === 'noise-floor' ? { ...rule, floor: timesPowerOfTwo(rule.floor, e) } : rule
}

/** Any orthonormal vectors are singular vectors of a zero matrix. */
function zeroTruncation({ rows, columns }: { rows: number; columns: number }, rank: number): TruncatedSvd {
  return {
    U: leadingUnitVectors(rows, rank),
    S: new Float64Array(rank),
    V: leadingUnitVectors(columns, rank),
    rank,
    frobenius: 0,
    optimalError: { atLeast: 0, atMost: 0 },
    certificate: {
      kind: 'deterministic',
      failureProbability: 0,
      spectral: { atLeast: 0, atMost: 0 },
      closed: true,
      belowRounding: true,
    },
    method: 'krylov',
  }
}

function leadingUnitVectors(rows: number, count: number): Float64Matrix {
  const E = zeros(rows, count)
  for (let i = 0; i < count; i++) E.data[i * count + i] = 1
  return E
}

/** What the full SVD may be off by, in epsilons: 2⁻³³ for float32 data, 2⁻⁵³ for float64, times a modest number. */
const ERROR_EPSILONS = { f32: 2 ** -10 * 8, f64: 8 } as const

/** The truncation read off all singular values. */
function fullTruncation(A: Matrix, { engine, rule, limits }: TruncationPlan): TruncatedSvd {
  const { U, S, V } = engine.leadingSvd(A, (S) => (S.length === 0 ? 0 : chooseRank(S, rule, limits)))
  const rank = U.columns
  const precision = floatType(A)
  const largest = S[0] ?? 0
  const error = optimalError(S, rank)
  const allowance = largest > 0 ? ERROR_EPSILONS[precision] * epsilonOf[precision] * Math.sqrt(S.length) : 0
  const next = S[rank] ?? 0
  return {
    U,
    S: S.slice(0, rank),
    V,
    rank,
    spectrum: S,
    frobenius: largest * Math.sqrt(stableRank(S)),
    optimalError: around(error, allowance),
    certificate: {
      kind: 'deterministic',
      failureProbability: 0,
      spectral: around(next, allowance * largest),
      closed: true,
      belowRounding: error <= 4 * epsilonOf[precision],
    },
    method: 'full',
  }
}

const around = (value: number, allowance: number) => ({
  atLeast: Math.max(0, value - allowance),
  atMost: value + allowance,
})
