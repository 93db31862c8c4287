import type { Engine, HalfMatrix } from '../engine/engine.ts'
import { widenHalf } from '../matrix/half.ts'
import { type Float64Matrix, type Matrix, matrix, zeros } from '../matrix/matrix.ts'
import type { RankLimits, RankRule } from '../rank/rules.ts'
import { withinLimits } from '../rank/rules.ts'
import { certifiedKrylov, largestRank } from './certified-krylov.ts'
import { fullTruncation } from './full-truncation.ts'
import { shortSideOperator } from './operator.ts'

export type TruncationEngine = Pick<Engine, 'multiply' | 'gram' | 'symmetricEigen' | 'svd' | 'resident'>

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
}

export interface TruncationOptions {
  readonly engine: TruncationEngine
  readonly limits?: RankLimits
  /** Same seed and name, same bits. 0 when left out. */
  readonly seed?: bigint | number
  /** Such as the tensor's: gives each matrix its own random stream, whatever the order of work. */
  readonly name?: string
  readonly certify?: 'default' | 'strict' | 'none'
  /** Width of the interval at which to stop: atMost / atLeast − 1. 0.01 when left out. */
  readonly goal?: number
  /**
   * Largest share of the short side that the Krylov basis may take before the full SVD does it: 0 for the full SVD at once,
   * above 1 to always try.
   */
  readonly largestShare?: number
}

/** Up to here the full SVD takes a few milliseconds. */
const ALWAYS_FULL_ORDER = 128
const GOAL = 0.01
/** Beyond this, rank about order/4.4, the full SVD costs no more (measured for orders 192 to 1024). */
const LARGEST_SHARE = 1 / 2
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
  options: TruncationOptions,
): TruncatedSvd {
  const { engine, limits = {}, seed = 0, name = '', certify = 'default', goal = GOAL } = options
  const order = Math.min(A.rows, A.columns)
  const cap = Math.floor(order * (options.largestShare ?? LARGEST_SHARE))
  const plan = { engine, rule, limits, label: `${seed}/${name}`, certify, goal, cap }
  const wide = () => ('dtype' in A ? matrix(A.rows, A.columns, widenHalf(A.data, A.dtype)) : A)
  const known = rule.kind === 'rank' ? rule.rank : 0
  const small = order <= ALWAYS_FULL_ORDER && options.largestShare === undefined
  if (small || withinLimits(known, order, limits) > largestRank(cap)) return fullTruncation(wide(), plan)
  const operator = shortSideOperator(engine, A)
  try {
    if (operator.frobenius === 0) return zeroTruncation(A, withinLimits(known, order, limits))
    const result = certifiedKrylov(operator, plan, wide)
    const isEnough = certify === 'none' || order > FULL_WHEN_OPEN_ORDER || options.largestShare !== undefined
    if (result?.certificate.closed || (result !== undefined && isEnough)) return result
  } finally {
    operator.release()
  }
  return fullTruncation(wide(), plan)
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
