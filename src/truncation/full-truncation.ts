import { floatType, leadingColumns, type Matrix } from '../matrix/matrix.ts'
import { optimalError, stableRank } from '../rank/measures.ts'
import { chooseRank } from '../rank/rules.ts'
import { EPSILON } from './orthonormalize.ts'
import type { TruncatedSvd, TruncationPlan } from './types.ts'

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
