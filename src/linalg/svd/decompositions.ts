import { badInput } from '../../errors.ts'
import { requireFinite } from '../matrix/finite.ts'
import { type Float64Matrix, type Matrix, zeros } from '../matrix/matrix.ts'
import { block, type Kernels, transposeBlock } from './kernels.ts'
import { leadingSvd } from './leading-svd.ts'
import { orthonormalRows, rowQr } from './qr.ts'
import { scaleByPowerOfTwo, scaleToOne } from './scaling.ts'
import { type Decompositions, fullSvd, shortSideRows } from './svd.ts'
import { symmetricEigen } from './symmetric-eigen.ts'

/** The decompositions of an engine, on its kernels. */
export function decompositions(kernels: Kernels): Decompositions {
  return {
    qr: (A) => thinQr(kernels, A),
    symmetricEigen: (G, vectors) => symmetricEigen(kernels, G, vectors),
    svd: (A, vectors) => fullSvd(A, vectors, kernels),
    leadingSvd: (A, count) => leadingSvd(A, count, kernels),
  }
}

/**
 * A = Q·R, thin Householder QR in float64: Q orthonormal to rounding for any rank, R upper triangular with diagonal
 * entries of either sign. A [m, n], m ≥ n. Q [m, n], R [n, n].
 * Throws LoraSvdError 'bad-input' for m < n, 'not-finite' on NaN and infinity.
 */
function thinQr(kernels: Kernels, A: Matrix): { Q: Float64Matrix; R: Float64Matrix } {
  const { rows: m, columns: n } = A
  if (m < n) {
    throw badInput(`QR needs at least as many rows as columns, got ${m}×${n}; pass the transpose`)
  }
  requireFinite(A)
  return kernels.scope(() => {
    const X = shortSideRows(kernels, A)
    const exponent = scaleToOne(X.data, kernels)
    const qr = rowQr(kernels, X)
    const Q = zeros(m, n)
    const rows = block(kernels.allocate(n * m), n, m)
    orthonormalRows(kernels, qr, rows)
    transposeBlock(rows, block(Q.data, m, n))
    const R = zeros(n, n)
    for (let j = 0; j < n; j++) {
      for (let i = 0; i <= j; i++) R.data[i * n + j] = X.data[j * m + i]
    }
    scaleByPowerOfTwo(R.data, exponent)
    return { Q, R }
  })
}
