import { badInput } from '../../errors.ts'
import { requireFinite } from '../matrix/finite.ts'
import { type Float64Matrix, zeros } from '../matrix/matrix.ts'
import { type TridiagonalEigen, tridiagonalEigen } from './divide-and-conquer.ts'
import { type Block, block, type Kernels, type PanelOutputs, part, rowOf, transposeBlock } from './kernels.ts'
import { applyReflectors, REFLECTOR_BLOCK } from './qr.ts'
import { scaleByPowerOfTwo, scaleToOne } from './scaling.ts'
import type { SymmetricEigen, Vectors } from './svd.ts'

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
    if (vectors === 'none') return { values: reducedValues(kernels, reduced), vectors: zeros(0, 0) }
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
  const exponent = scaleToOne(G.data, kernels)
  return { reduction: reduceToTridiagonal(kernels, G), exponent }
}

/** All eigenvalues, ascending, in O(n²). */
export function reducedValues(kernels: Kernels, { reduction, exponent }: ReducedSymmetric): Float64Array {
  const values = reduction.diagonal.slice()
  kernels.tridiagonalQl(values, reduction.offDiagonal.slice())
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

/**
 * In rows the eigenvectors of the first of `values`, the smallest, as many as `count`, allocated from `kernels`: of less than half
 * of them by inverse iteration where that finds them, which takes a fraction of the time for a few.
 */
export function reducedVectors(
  kernels: Kernels,
  reduced: ReducedSymmetric,
  values: Float64Array,
  count: number,
): Block {
  const { reduction, exponent } = reduced
  const n = reduction.diagonal.length
  if (2 * count > n) return reducedEigen(kernels, reduced, count).vectors
  const Z = block(kernels.allocate(count * n), count, n)
  const scaled = values.slice(0, count)
  scaleByPowerOfTwo(scaled, -exponent)
  if (kernels.inverseIteration(reduction, scaled, Z)) return Z
  return reducedEigen(kernels, reduced, count).vectors
}

/** A symmetric tridiagonal matrix: its diagonal [n] and the entries beside it [n − 1]. */
export interface Tridiagonal {
  readonly diagonal: Float64Array
  readonly offDiagonal: Float64Array
}

/** G = Q·T·Qᵀ with Q = H(0)·…·H(n−3), the reflectors in the rows of `reflectors` right of the off-diagonal. */
export interface TridiagonalReduction extends Tridiagonal {
  readonly reflectors: Block
  readonly tau: Float64Array
}

/** Rows of the trailing matrix that are updated by one product: small steps along the diagonal waste few flops below it. */
const UPDATE_ROWS = 128

/**
 * Reduces a symmetric matrix to tridiagonal form by Householder reflectors, in place and reading only the upper
 * triangle (Dongarra, Hammarling and Sorensen 1989; LAPACK xSYTRD, xLATRD). Half of the 4/3·n³ flops are products
 * of the trailing matrix with one vector, the other half are rank-2b updates. G [n, n], entries about 1 or less.
 */
function reduceToTridiagonal(kernels: Kernels, G: Block): TridiagonalReduction {
  const n = G.rows
  const diagonal = new Float64Array(n)
  const offDiagonal = new Float64Array(Math.max(0, n - 1))
  const tau = new Float64Array(Math.max(0, n - 2))
  for (let start = 0; start < n; start += REFLECTOR_BLOCK) {
    kernels.scope(() => {
      reduceAndUpdate(kernels, G, start, { diagonal, offDiagonal, tau })
    })
  }
  return { diagonal, offDiagonal, tau, reflectors: G }
}

/**
 * One panel. The trailing matrix stays as it was at the panel's start; what it would be by now is
 * A − VᵀW − WᵀV with the panel's reflectors in V and their products in W.
 */
function reduceAndUpdate(kernels: Kernels, G: Block, start: number, out: PanelOutputs): void {
  const n = G.rows
  const b = Math.min(REFLECTOR_BLOCK, n - start)
  const width = n - start
  // Rows 0..b−1 hold the reflectors, rows b..2b−1 their products: one block, so that one product updates all.
  const VW = block(kernels.allocate(2 * b * width).fill(0), 2 * b, width)
  kernels.reducePanel(G, start, VW, out)
  updateTrailing(kernels, G, start + b, VW, b)
}

/** The rows of G from `start` on, as many as VW [2b, n − start] has reflectors. */
export function reducePanel(kernels: Kernels, G: Block, start: number, VW: Block, out: PanelOutputs): void {
  const n = G.rows
  const b = VW.rows / 2
  const V = part(VW, 0, 0, b, VW.columns)
  const W = part(VW, b, 0, b, VW.columns)
  const scratch = kernels.allocate(2 * b)
  for (let i = 0; i < b; i++) {
    const k = start + i
    const row = rowOf(G, k, k, n)
    updateRow(kernels, V, W, i, row, scratch)
    out.diagonal[k] = row[0]
    if (k >= n - 1) continue
    const tail = row.subarray(1)
    const tau = tail.length > 1 ? kernels.makeReflector(tail) : 0
    if (k < n - 2) out.tau[k] = tau
    out.offDiagonal[k] = tail[0]
    const v = rowOf(V, i, i + 1)
    v.set(tail)
    v[0] = 1
    const w = rowOf(W, i, i + 1)
    if (tau !== 0)
      productRow(kernels, part(G, k + 1, k + 1, n - k - 1, n - k - 1), V, W, i, tau, v, w, scratch)
  }
}

/** row ← row − V(:, i)ᵀ·W(:, i..) − W(:, i)ᵀ·V(:, i..): row i of the panel as its earlier reflectors leave it. */
function updateRow(
  kernels: Kernels,
  V: Block,
  W: Block,
  i: number,
  row: Float64Array,
  scratch: Float64Array,
): void {
  if (i === 0) return
  const fromV = scratch.subarray(0, i)
  const fromW = scratch.subarray(i, 2 * i)
  for (let j = 0; j < i; j++) {
    fromV[j] = V.data[V.offset + j * V.stride + i]
    fromW[j] = W.data[W.offset + j * W.stride + i]
  }
  kernels.gemv(-1, part(W, 0, i, i, row.length), 'T', fromV, row)
  kernels.gemv(-1, part(V, 0, i, i, row.length), 'T', fromW, row)
}

/** w ← tau·(A − VᵀW − WᵀV)·v − (tau/2)·(wᵀv)·v, so that H·A·H = A − v·wᵀ − w·vᵀ. */
function productRow(
  kernels: Kernels,
  trailing: Block,
  V: Block,
  W: Block,
  i: number,
  tau: number,
  v: Float64Array,
  w: Float64Array,
  scratch: Float64Array,
): void {
  kernels.symv(trailing, v, w)
  if (i > 0) {
    const Vi = part(V, 0, i + 1, i, v.length)
    const Wi = part(W, 0, i + 1, i, v.length)
    const c = scratch.subarray(0, i)
    c.fill(0)
    kernels.gemv(1, Wi, 'N', v, c)
    kernels.gemv(-1, Vi, 'T', c, w)
    c.fill(0)
    kernels.gemv(1, Vi, 'N', v, c)
    kernels.gemv(-1, Wi, 'T', c, w)
  }
  let dot = 0
  for (let j = 0; j < v.length; j++) dot += w[j] * v[j]
  const shift = 0.5 * tau * tau * dot
  for (let j = 0; j < v.length; j++) w[j] = tau * w[j] - shift * v[j]
}

/** G ← G − VᵀW − WᵀV on the upper triangle from (first, first) on, as products of 2b rows with 2b rows. */
function updateTrailing(kernels: Kernels, G: Block, first: number, VW: Block, b: number): void {
  const n = G.rows
  if (first >= n) return
  const half = b * VW.columns
  const swapped = block(kernels.allocate(2 * half), 2 * b, VW.columns)
  for (let i = 0; i < half; i++) {
    swapped.data[i] = -VW.data[half + i]
    swapped.data[half + i] = -VW.data[i]
  }
  const origin = n - VW.columns
  for (let r = first; r < n; r += UPDATE_ROWS) {
    const rows = Math.min(UPDATE_ROWS, n - r)
    const left = part(VW, 0, r - origin, 2 * b, rows)
    const right = part(swapped, 0, r - origin, 2 * b, n - r)
    kernels.gemm(left, 'T', right, 'N', part(G, r, r, rows, n - r), true)
  }
}

/** z ← Q·z for every row z of Z: eigenvectors of T become eigenvectors of G. Z [r, n]. */
function backTransform(kernels: Kernels, reduction: TridiagonalReduction, Z: Block): void {
  applyReflectors(kernels, reduction.reflectors, reduction.tau, 1, Z)
}
