import { type Float64Matrix, type Matrix, zeros } from '../matrix/matrix.ts'
import { requireFinite } from './finite.ts'
import { gramSvd, gramValues, JACOBI_ORDER, type RowSvd, Span } from './gram-svd.ts'
import { jacobiSvd } from './jacobi.ts'
import { type Block, block, type Kernels, transposeBlock } from './kernels.ts'
import { scaleByPowerOfTwo, scaleToOne } from './power-scale.ts'
import { preconditionedJacobi, preconditionedJacobiValues } from './preconditioned-jacobi.ts'
import { shortSideRows } from './short-side.ts'
import { fixSigns } from './signs.ts'
import type { Svd, Vectors } from './types.ts'

/** From this condition on, float64 data have singular values whose digits only Jacobi keeps. */
const ILL_CONDITIONED = 1e7

/** Largest order for which those digits are bought with Jacobi sweeps, up to a third of a second; beyond it they are only absolute. */
const ACCURATE_ORDER = 192

/**
 * The thin SVD of A [m, k], or its singular values alone for 'none', in float64 arithmetic whatever A is stored in.
 * U and V are orthonormal to rounding for every rank; the largest entry of each left vector is positive.
 *
 * Accuracy of S, vectors or not: |error| ≤ p·eps·S(0) with eps = 2⁻⁵³ for float64 A and 2⁻³³ for float32 A, p a modest
 * polynomial of the size. For min(m, k) ≤ 64, and for float64 A of condition above 1e7 up to 192, small singular
 * values also keep their relative accuracy where the matrix determines it (well-conditioned but for column scaling).
 * 2^j·A has the vectors of A, bit for bit.
 *
 * Throws LoraSvdError 'not-finite' on NaN and infinity, 'no-convergence' should an iteration fail.
 */
export function fullSvd(A: Matrix, vectors: Vectors, kernels: Kernels): Svd {
  requireFinite(A)
  const n = Math.min(A.rows, A.columns)
  if (n === 0) return vectors === 'none' ? valuesOnly(new Float64Array(0)) : emptySvd(A)
  if (n <= JACOBI_ORDER) return jacobiSvd(A, vectors)
  return kernels.scope(() => {
    const Xt = shortSideRows(kernels, A)
    const exponent = scaleToOne(Xt.data)
    if (vectors === 'none') {
      const S = values(kernels, Xt, A)
      scaleByPowerOfTwo(S, exponent)
      return valuesOnly(S)
    }
    const svd = decompose(kernels, Xt, A)
    scaleByPowerOfTwo(svd.S, exponent)
    const left = columnsOf(svd.Ut)
    const right = columnsOf(svd.Vt)
    const result = A.rows >= A.columns ? { U: left, S: svd.S, V: right } : { U: right, S: svd.S, V: left }
    fixSigns(result.U, result.V)
    return result
  })
}

function decompose(kernels: Kernels, Xt: Block, A: Matrix): RowSvd {
  const svd = gramSvd(kernels, Xt, spanOf(A))
  return needsJacobi(A, svd.S) ? preconditionedJacobi(kernels, Xt) : svd
}

function values(kernels: Kernels, Xt: Block, A: Matrix): Float64Array {
  const S = gramValues(kernels, Xt, spanOf(A))
  return needsJacobi(A, S) ? preconditionedJacobiValues(kernels, Xt) : S
}

function spanOf(A: Matrix): number {
  return A.data instanceof Float64Array ? Span.float64 : Span.float32
}

function needsJacobi(A: Matrix, S: Float64Array): boolean {
  return (
    A.data instanceof Float64Array &&
    S.length <= ACCURATE_ORDER &&
    S[0] > 0 &&
    S[S.length - 1] * ILL_CONDITIONED < S[0]
  )
}

const valuesOnly = (S: Float64Array): Svd => ({ U: zeros(0, 0), S, V: zeros(0, 0) })

const emptySvd = (A: Matrix): Svd => ({ U: zeros(A.rows, 0), S: new Float64Array(0), V: zeros(A.columns, 0) })

function columnsOf(X: Block): Float64Matrix {
  const out = zeros(X.columns, X.rows)
  transposeBlock(X, block(out.data, X.columns, X.rows))
  return out
}
