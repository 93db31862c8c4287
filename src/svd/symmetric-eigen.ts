import { badInput } from '../errors.ts'
import { type Float64Matrix, zeros } from '../matrix/matrix.ts'
import { type TridiagonalEigen, tridiagonalEigen } from './divide-and-conquer.ts'
import { requireFinite } from './finite.ts'
import { type Block, block, type Kernels, transposeBlock } from './kernels.ts'
import { scaleByPowerOfTwo, scaleToOne } from './power-scale.ts'
import { backTransform, reduceToTridiagonal, type TridiagonalReduction } from './tridiagonal.ts'
import { tridiagonalQl } from './tridiagonal-ql.ts'
import type { SymmetricEigen, Vectors } from './types.ts'

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
    const reduced = reduceSymmetric(kernels, work)
    if (vectors === 'none') return { values: reducedValues(reduced), vectors: zeros(0, 0) }
    const eigen = reducedEigen(kernels, reduced, n)
    const Q = zeros(n, n)
    transposeBlock(eigen.vectors, block(Q.data, n, n))
    return { values: eigen.values, vectors: Q }
  })
}

/** A symmetric block scaled by 2^−exponent and reduced; its eigenvalues and eigenvectors can be had from here. */
export interface ReducedSymmetric {
  readonly reduction: TridiagonalReduction
  readonly exponent: number
}

/** The block, which is overwritten, made tridiagonal. */
export function reduceSymmetric(kernels: Kernels, G: Block): ReducedSymmetric {
  const exponent = scaleToOne(G.data)
  return { reduction: reduceToTridiagonal(kernels, G), exponent }
}

/** All eigenvalues, ascending, in O(n²). */
export function reducedValues({ reduction, exponent }: ReducedSymmetric): Float64Array {
  const values = reduction.diagonal.slice()
  tridiagonalQl(values, reduction.offDiagonal.slice())
  scaleByPowerOfTwo(values, exponent)
  return values.sort()
}

/** All eigenvalues, ascending, and in rows the eigenvectors of the `count` smallest, allocated from `kernels`. */
export function reducedEigen(
  kernels: Kernels,
  { reduction, exponent }: ReducedSymmetric,
  count: number,
): TridiagonalEigen {
  const eigen = tridiagonalEigen(kernels, reduction.diagonal.slice(), reduction.offDiagonal, count)
  backTransform(kernels, reduction, eigen.vectors)
  scaleByPowerOfTwo(eigen.values, exponent)
  return eigen
}
