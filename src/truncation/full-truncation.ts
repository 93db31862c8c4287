import { leadingColumns, type Matrix } from '../matrix/matrix.ts'
import { chooseRank } from '../rank/rules.ts'
import type { TruncationPlan } from './certified-krylov.ts'
import { EPSILON } from './orthonormalize.ts'
import type { TruncatedSvd } from './truncated-svd.ts'

/** What the full SVD may be off by, in epsilons: 2⁻³³ for float32 data, 2⁻⁵³ for float64, times a modest number. */
const ERROR_EPSILONS = { f32: 2 ** -10 * 8, f64: 8 } as const

/** The truncation read off all singular values. */
export function fullTruncation(A: Matrix, { engine, rule, limits }: TruncationPlan): TruncatedSvd {
  const { U, S, V } = engine.svd(A, 'thin')
  const rank = S.length === 0 ? 0 : chooseRank(S, rule, limits)
  const precision = A.data instanceof Float32Array ? 'f32' : 'f64'
  const largest = S[0] ?? 0
  const tails = new Float64Array(S.length + 1)
  if (largest > 0) for (let i = S.length - 1; i >= 0; i--) tails[i] = tails[i + 1] + (S[i] / largest) ** 2
  const error = tails[0] === 0 ? 0 : Math.sqrt(tails[rank] / tails[0])
  const allowance = ERROR_EPSILONS[precision] * EPSILON[precision] * Math.sqrt(S.length)
  const next = S[rank] ?? 0
  return {
    U: leadingColumns(U, rank),
    S: S.slice(0, rank),
    V: leadingColumns(V, rank),
    rank,
    frobenius: largest * Math.sqrt(tails[0]),
    optimalError:
      largest > 0
        ? { atLeast: Math.max(0, error - allowance), atMost: error + allowance }
        : { atLeast: 0, atMost: 0 },
    certificate: {
      kind: 'deterministic',
      failureProbability: 0,
      spectral: {
        atLeast: Math.max(0, next - allowance * largest),
        atMost: next + allowance * largest,
      },
      closed: true,
      belowRounding: error <= 4 * EPSILON[precision],
    },
    method: 'full',
  }
}
