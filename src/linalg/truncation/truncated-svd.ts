import type { HalfMatrix } from '../engine.ts'
import { widened } from '../matrix/half.ts'
import { type Float64Matrix, floatType, leadingColumns, type Matrix, zeros } from '../matrix/matrix.ts'
import { optimalError, stableRank } from '../spectrum/ranks.ts'
import { chooseRank, type RankRule, withinLimits } from '../spectrum/rules.ts'
import { timesPowerOfTwo } from '../svd/scaling.ts'
import { certifiedKrylov, largestRank } from './certified-krylov.ts'
import { shortSideOperator } from './operator.ts'
import { EPSILON } from './orthonormalize.ts'
import { streamKeys } from './streams.ts'
import type { TruncatedSvd, TruncationOptions, TruncationPlan } from './types.ts'

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
  const plan = { engine, rule, limits, keys: streamKeys(A, seed, name), certify, goal, cap }
  const wide = () => widened(A)
  const known = rule.kind === 'rank' ? rule.rank : 0
  const small = order <= ALWAYS_FULL_ORDER && options.largestShare === undefined
  if (small || withinLimits(known, order, limits) > largestRank(cap)) return fullTruncation(wide(), plan)
  const operator = shortSideOperator(engine, A, options.frobenius)
  try {
    if (operator.frobenius === 0) return zeroTruncation(A, withinLimits(known, order, limits))
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
export function fullTruncation(A: Matrix, { engine, rule, limits }: TruncationPlan): TruncatedSvd {
  const { U, S, V } = engine.svd(A, 'thin')
  const rank = S.length === 0 ? 0 : chooseRank(S, rule, limits)
  const precision = floatType(A)
  const largest = S[0] ?? 0
  const error = optimalError(S, rank)
  const allowance = largest > 0 ? ERROR_EPSILONS[precision] * EPSILON[precision] * Math.sqrt(S.length) : 0
  const next = S[rank] ?? 0
  return {
    U: leadingColumns(U, rank),
    S: S.slice(0, rank),
    V: leadingColumns(V, rank),
    rank,
    spectrum: S,
    frobenius: largest * Math.sqrt(stableRank(S)),
    optimalError: around(error, allowance),
    certificate: {
      kind: 'deterministic',
      failureProbability: 0,
      spectral: around(next, allowance * largest),
      closed: true,
      belowRounding: error <= 4 * EPSILON[precision],
    },
    method: 'full',
  }
}

const around = (value: number, allowance: number) => ({
  atLeast: Math.max(0, value - allowance),
  atMost: value + allowance,
})
