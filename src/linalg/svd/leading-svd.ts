import { leadingColumns, type Matrix } from '../matrix/matrix.ts'
import { gramLeading, JACOBI_ORDER } from './gram-svd.ts'
import type { Kernels } from './kernels.ts'
import { fixSignsOfRows, scaleByPowerOfTwo } from './scaling.ts'
import { columnsOf, fullSvd, type Svd, scaledRows } from './svd.ts'

/**
 * All singular values of A [m, k], non-increasing, and the vectors of the first `count(S)` of them: U [m, r], V [k, r]. What is given is as
 * accurate as by `fullSvd`. For float32 A that is neither very small nor large the vectors that aren't asked for aren't computed.
 * Throws as `fullSvd` does.
 */
export function leadingSvd(A: Matrix, count: (S: Float64Array) => number, kernels: Kernels): Svd {
  const order = Math.min(A.rows, A.columns)
  if (A.data instanceof Float32Array && order > JACOBI_ORDER) {
    const leading = kernels.scope(() => {
      const { Xt, exponent } = scaledRows(kernels, A)
      const unscaled = (S: Float64Array) => {
        scaleByPowerOfTwo(S, exponent)
        return S
      }
      const found = gramLeading(kernels, Xt, (S) => count(unscaled(S.slice())))
      if (found === undefined) return undefined
      const [Ut, Vt] = A.rows >= A.columns ? [found.Ut, found.Vt] : [found.Vt, found.Ut]
      fixSignsOfRows(kernels, Ut, Vt)
      return { U: columnsOf(Ut), S: unscaled(found.S), V: columnsOf(Vt) }
    })
    if (leading !== undefined) return leading
  }
  return leadingOf(fullSvd(A, 'thin', kernels), count)
}

/** What is asked for of a thin SVD. */
export function leadingOf({ U, S, V }: Svd, count: (S: Float64Array) => number): Svd {
  const r = count(S)
  return { U: leadingColumns(U, r), S, V: leadingColumns(V, r) }
}
