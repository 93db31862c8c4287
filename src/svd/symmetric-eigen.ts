import type { SymmetricEigen, Vectors } from '../engine/engine.ts'
import { badInput } from '../errors.ts'
import { type Float64Matrix, zeros } from '../matrix/matrix.ts'
import { type TridiagonalEigen, tridiagonalEigen } from './divide-and-conquer.ts'
import { requireFinite } from './finite.ts'
import { type Block, block, type Kernels, transposeBlock } from './kernels.ts'
import { scaleByPowerOfTwo, scaleToOne } from './power-scale.ts'
import { backTransform, reduceToTridiagonal } from './tridiagonal.ts'
import { tridiagonalQl } from './tridiagonal-ql.ts'

/**
 * Eigenvalues, ascending, and unless 'none' orthonormal eigenvectors of a symmetric matrix: tridiagonal reduction,
 * then divide and conquer. |G·Q − Q·Λ| and |QᵀQ − I| are a modest multiple of n·2⁻⁵²·|G|. Only the upper triangle of
 * G [n, n] is read; G is not changed.
 * Throws LoraSvdError 'bad-input' unless G is square, 'not-finite' where it holds NaN or infinity.
 */
export function symmetricEigen(kernels: Kernels, G: Float64Matrix, vectors: Vectors): SymmetricEigen {
  const n = G.rows
  if (n !== G.columns) {
    throw badInput(
      `a symmetric matrix must be square, got ${G.rows}×${G.columns}; pass a matrix with as many rows as columns`,
    )
  }
  requireFinite(G)
  return kernels.scope(() => {
    const work = block(kernels.allocate(n * n), n, n)
    work.data.set(G.data)
    if (vectors === 'none') return { values: symmetricValues(kernels, work), vectors: zeros(0, 0) }
    const eigen = symmetricEigenRows(kernels, work)
    const Q = zeros(n, n)
    transposeBlock(eigen.vectors, block(Q.data, n, n))
    return { values: eigen.values, vectors: Q }
  })
}

/** The eigenvalues of a symmetric block, ascending; the block is destroyed. */
export function symmetricValues(kernels: Kernels, G: Block): Float64Array {
  const exponent = scaleToOne(G.data)
  const { diagonal, offDiagonal } = reduceToTridiagonal(kernels, G)
  tridiagonalQl(diagonal, offDiagonal)
  scaleByPowerOfTwo(diagonal, exponent)
  return diagonal.sort()
}

/**
 * Eigenvalues, ascending, of a symmetric block and in rows the eigenvectors of the `count` smallest; the block is
 * destroyed. The vectors are allocated from `kernels`.
 */
export function symmetricEigenRows(kernels: Kernels, G: Block, count = G.rows): TridiagonalEigen {
  const exponent = scaleToOne(G.data)
  const reduction = reduceToTridiagonal(kernels, G)
  const eigen = tridiagonalEigen(kernels, reduction.diagonal, reduction.offDiagonal, count)
  backTransform(kernels, reduction, eigen.vectors)
  scaleByPowerOfTwo(eigen.values, exponent)
  return eigen
}
