import type { Svd } from '../../linalg/engine.ts'
import { requireFinite } from '../../linalg/matrix/finite.ts'
import { type Matrix, toFloat64 } from '../../linalg/matrix/matrix.ts'
import { Span } from '../../linalg/svd/gram-svd.ts'
import { leadingOf } from '../../linalg/svd/leading-svd.ts'
import { fixSigns } from '../../linalg/svd/scaling.ts'
import { columnSquares, lastColumnsFirst, scaleColumns } from '../../linalg/truncation/columns.ts'
import { qr, svd, symmetricEigen } from './decompositions.ts'
import { gram, multiply } from './products.ts'
import type { Lapack } from './symbols.ts'

/**
 * All singular values of A [m, k], non-increasing, and the vectors of the first `count(S)` of them. Of float32 data by one pass through the Gram matrix
 * of the short side (DSYRK, DSYEVD), whose products are exact in float64, and a QR of the long vectors: only as many of those as are asked for. What is further below
 * the largest value than a Gram matrix resolves, and float64 data, are left to `svd`. Throws as `svd` does.
 */
export function leadingSvd(lapack: Lapack, A: Matrix, count: (S: Float64Array) => number): Svd {
  return leadingByGram(lapack, A, count) ?? leadingOf(svd(lapack, A, 'thin'), count)
}

function leadingByGram(lapack: Lapack, A: Matrix, count: (S: Float64Array) => number): Svd | undefined {
  const isWide = A.rows < A.columns
  const n = Math.min(A.rows, A.columns)
  if (n === 0 || A.data instanceof Float64Array) return undefined
  requireFinite(A)
  const G = gram(lapack, A, isWide ? 'rows' : 'columns')
  const { values, vectors } = symmetricEigen(lapack, G, 'thin')
  const S = values.reverse().map((value) => Math.sqrt(Math.max(0, value)))
  if (!(S[0] > 0 && S[n - 1] >= S[0] / Span.float32)) return undefined
  const r = count(S.slice())
  const short = lastColumnsFirst(vectors, r)
  const long = toFloat64(multiply(lapack, A, short, { transposeA: isWide }))
  const norms = columnSquares(long).map(Math.sqrt)
  scaleColumns(
    long,
    norms.map((norm) => 1 / norm),
  )
  const { Q, R } = qr(lapack, long)
  // a reflector turns a unit vector into ±1: the sign goes to the vector
  scaleColumns(
    Q,
    norms.map((_, j) => (R.data[j * r + j] < 0 ? -1 : 1)),
  )
  // lengths tell more than eigenvalues, but rounding must not put them out of order
  norms.forEach((norm, j) => {
    S[j] = j === 0 ? norm : Math.min(S[j - 1], norm)
  })
  for (let j = r; r > 0 && j < n; j++) S[j] = Math.min(S[j], S[r - 1])
  const [U, V] = isWide ? [short, Q] : [Q, short]
  fixSigns(U, V)
  return { U, S, V }
}
