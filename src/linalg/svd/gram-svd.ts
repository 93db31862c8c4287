import { epsilonOf, type Float64Matrix } from '../matrix/matrix.ts'
import { jacobiSvd } from './jacobi.ts'
import { type Block, block, copyBlock, type Kernels, part, rowOf, transposeBlock } from './kernels.ts'
import { orthonormalRows, rowQr } from './qr.ts'
import { scaleByPowerOfTwo, scaleToOne } from './scaling.ts'
import { reducedEigen, reducedValues, reducedVectors, reduceSymmetric } from './symmetric-eigen.ts'

/** X = Σ S(j)·u(j)·v(j)ᵀ with the vectors in rows: Ut [n, m], S [n] non-increasing, Vt [n, n]. */
export interface RowSvd {
  readonly Ut: Block
  readonly S: Float64Array
  readonly Vt: Block
}

/**
 * How far below the largest singular value one pass through the Gram matrix is trusted. With eigenvectors good to
 * eps·S(0)², what is neglected beside s is eps·S(0)·(S(0)/s). For float64 data a span of 2⁴ leaves residuals and errors
 * as small as LAPACK's (2⁶ begins to show in both); for float32 data 2²⁰ leaves 2⁻³³, far below their own 2⁻²⁴.
 */
export const Span = { float64: 2 ** 4, float32: 2 ** 20 } as const

/** Order at and below which one-sided Jacobi is as fast and more accurate (7 ms for 64 × 64). */
export const JACOBI_ORDER = 64

/**
 * Up to these orders singular values alone come from a bidiagonal matrix, in one call of a kernel that is fast the first time it runs.
 * Where they fall over a few magnitudes it takes a fourth of the time of Gram matrices for float64 data of order 96, as measured on Node 20.
 */
export const BIDIAGONAL_ORDER = { float64: 256, float64Long: 128, float32: 128 } as const

/**
 * The SVD of X, whose columns are the rows of `Xt` [n, m], n ≤ m, with entries about 1 or less. The eigenvectors V
 * of XᵀX make the columns of W = X·V nearly orthogonal; Householder QR of W, columns by falling norm, makes them so
 * to rounding and completes them where they vanish. R is then diagonal to rounding except in the block of the
 * singular values below S(0)/span, which is an SVD of its own, smaller and smaller in norm: that gives all singular
 * values with error p·eps·S(0), as a bidiagonal SVD does, though XᵀX alone loses those below √eps·S(0).
 * `Xt` is kept. The results are allocated from `kernels`.
 */
export function gramSvd(kernels: Kernels, Xt: Block, span: number): RowSvd {
  return gramLevel(kernels, Xt, span, 0)
}

function gramLevel(kernels: Kernels, Xt: Block, span: number, outerFloor: number): RowSvd {
  const n = Xt.rows
  const m = Xt.columns
  const Ut = block(kernels.allocate(n * m), n, m)
  const Vt = block(kernels.allocate(n * n), n, n)
  const S = kernels.scope(() => {
    const Wt = block(kernels.allocate(n * m), n, m)
    const norms = rotateToGramBasis(kernels, Xt, Vt, Wt)
    const floor = Math.max(outerFloor, noiseFloor(n, norms))
    normalizeRows(kernels, Wt, norms)
    const qr = rowQr(kernels, Wt)
    orthonormalRows(kernels, qr, Ut)
    const first = norms.findIndex((s) => s < norms[0] / span)
    const low = first < 0 ? 0 : norms.filter((s, j) => j >= first && s > floor).length
    // A reflector turns a unit vector into ±1: the sign goes to the vector.
    const flip = (j: number) => j < first || first < 0 || j >= first + low
    for (let j = 0; j < n; j++) if (flip(j) && rowOf(qr.reduced, j)[j] < 0) negate(rowOf(Ut, j))
    if (low > 0) {
      const core = triangularCore(kernels, part(qr.reduced, first, first, low, low), norms.subarray(first))
      const inner = coreSvd(kernels, core, span, floor)
      multiplyInPlace(kernels, inner.Ut, part(Ut, first, 0, low, m))
      multiplyInPlace(kernels, inner.Vt, part(Vt, first, 0, low, n))
      norms.set(inner.S, first)
    }
    return norms
  })
  return sortRows(kernels, { Ut, S, Vt })
}

/**
 * Singular values alone, non-increasing, with the same error bound: those above S(0)/span are square roots of
 * eigenvalues of XᵀX (relative error eps·span²/2 at worst, so the error is eps·span·S(0)/2); for the others X is
 * multiplied by their eigenvectors only, and what comes out is decomposed in turn.
 */
export function gramValues(kernels: Kernels, Xt: Block, span: number, outerFloor = 0): Float64Array {
  return kernels.scope(() => {
    const n = Xt.rows
    const G = block(kernels.allocate(n * n), n, n)
    kernels.syrk(Xt, G)
    const reduced = reduceSymmetric(kernels, G)
    const S = reducedValues(kernels, reduced)
      .reverse()
      .map((value) => Math.sqrt(Math.max(0, value)))
    const first = S.findIndex((s) => s < S[0] / span)
    if (first < 0) return S
    const floor = Math.max(outerFloor, noiseFloor(n, S))
    const low = n - first
    const Vt = block(kernels.allocate(low * n), low, n)
    copyReversed(reducedEigen(kernels, reduced, low).vectors, Vt)
    const Wt = block(kernels.allocate(low * Xt.columns), low, Xt.columns)
    kernels.gemm(Vt, 'N', Xt, 'N', Wt)
    const norms = sortByNorm(kernels, Wt)
    const above = norms.filter((s) => s > floor).length
    if (above > 0) {
      normalizeRows(kernels, Wt, norms)
      const { reduced } = rowQr(kernels, Wt)
      const core = triangularCore(kernels, part(reduced, 0, 0, above, above), norms)
      norms.set(coreValues(kernels, core, span, floor))
    }
    S.set(norms, first)
    return S.sort().reverse()
  })
}

/**
 * All singular values of X and the leading triplets, as many as `count` says of the values: Ut [r, m], Vt [r, n]. One pass through the Gram
 * matrix of float32 data; undefined where that isn't enough for the triplets. `Xt` is kept.
 */
export function gramLeading(
  kernels: Kernels,
  Xt: Block,
  count: (S: Float64Array) => number,
): RowSvd | undefined {
  const n = Xt.rows
  const m = Xt.columns
  const G = block(kernels.allocate(n * n), n, n)
  kernels.syrk(Xt, G)
  // the smallest eigenvalues of −G, whose vectors can be had alone
  kernels.scale(-1, G.data)
  const reduced = reduceSymmetric(kernels, G)
  const values = reducedValues(kernels, reduced)
  const S = values.map((value) => Math.sqrt(Math.max(0, -value)))
  const least = S[0] / Span.float32
  if (S[n - 1] < least) {
    S.set(
      n <= BIDIAGONAL_ORDER.float32 ? bidiagonalValues(kernels, Xt) : gramValues(kernels, Xt, Span.float32),
    )
  }
  const r = count(S)
  if (r === 0 || S[r - 1] < least || least === 0) return undefined
  const Vt = reducedVectors(kernels, reduced, values, r)
  const Wt = block(kernels.allocate(r * m), r, m)
  kernels.gemm(Vt, 'N', Xt, 'N', Wt)
  const norms = sortByNorm(kernels, Wt, Vt)
  normalizeRows(kernels, Wt, norms)
  const qr = rowQr(kernels, Wt)
  const Ut = block(kernels.allocate(r * m), r, m)
  orthonormalRows(kernels, qr, Ut)
  for (let j = 0; j < r; j++) if (rowOf(qr.reduced, j)[j] < 0) kernels.scale(-1, rowOf(Ut, j))
  S.set(norms)
  for (let j = r; j < n; j++) S[j] = Math.min(S[j], norms[r - 1])
  return { Ut, S, Vt }
}

/** Singular values of a small X by `Kernels.singularValues`; `Xt` is kept. */
export function bidiagonalValues(kernels: Kernels, Xt: Block): Float64Array {
  return kernels.scope(() => {
    const copy = block(kernels.allocate(Xt.rows * Xt.columns), Xt.rows, Xt.columns)
    copyBlock(Xt, copy)
    return kernels.singularValues(copy)
  })
}

/** Singular values below this are rounding errors of X·V: no pass through the Gram matrix makes them better. */
function noiseFloor(n: number, S: Float64Array): number {
  return Math.sqrt(n) * epsilonOf.f64 * (S[0] ?? 0)
}

/** Vt ← eigenvectors of XᵀX, Wt ← (X·V)ᵀ, both by falling norm of the rows of Wt, which are returned. */
function rotateToGramBasis(kernels: Kernels, Xt: Block, Vt: Block, Wt: Block): Float64Array {
  kernels.scope(() => {
    const G = block(kernels.allocate(Xt.rows * Xt.rows), Xt.rows, Xt.rows)
    kernels.syrk(Xt, G)
    copyReversed(reducedEigen(kernels, reduceSymmetric(kernels, G), Xt.rows).vectors, Vt)
  })
  kernels.gemm(Vt, 'N', Xt, 'N', Wt)
  return sortByNorm(kernels, Wt, Vt)
}

/** target ← the rows of X, last first. */
function copyReversed(X: Block, target: Block): void {
  for (let i = 0; i < X.rows; i++) rowOf(target, i).set(rowOf(X, X.rows - 1 - i))
}

/** Norms of the rows of W, falling; the rows, and those of V along with them, are brought into that order. */
function sortByNorm(kernels: Kernels, W: Block, V?: Block): Float64Array {
  const norms = new Float64Array(W.rows)
  for (let i = 0; i < W.rows; i++) {
    norms[i] = Math.sqrt(kernels.sumOfSquares(rowOf(W, i)))
  }
  const order = fallingOrder(norms)
  permuteRows(kernels, W, order)
  if (V) permuteRows(kernels, V, order)
  return Float64Array.from(order, (i) => norms[i])
}

function fallingOrder(S: Float64Array): Int32Array {
  return Int32Array.from(S.keys()).sort((a, b) => S[b] - S[a] || a - b)
}

/** Row i of X becomes what was row order(i). */
function permuteRows(kernels: Kernels, X: Block, order: Int32Array): void {
  const moved = order.findIndex((from, i) => from !== i)
  if (moved < 0) return
  kernels.scope(() => {
    const copy = block(kernels.allocate(X.rows * X.columns), X.rows, X.columns)
    copyBlock(X, copy)
    for (let i = moved; i < X.rows; i++) rowOf(X, i).set(rowOf(copy, order[i]))
  })
}

function sortRows(kernels: Kernels, { Ut, S, Vt }: RowSvd): RowSvd {
  const order = fallingOrder(S)
  permuteRows(kernels, Ut, order)
  permuteRows(kernels, Vt, order)
  return { Ut, S: Float64Array.from(order, (i) => S[i]), Vt }
}

function normalizeRows(kernels: Kernels, W: Block, norms: Float64Array): void {
  for (let i = 0; i < W.rows; i++) {
    // A reciprocal of a subnormal norm overflows, a quotient does not.
    if (norms[i] !== 0) kernels.divide(rowOf(W, i), norms[i])
  }
}

function negate(x: Float64Array): void {
  for (let i = 0; i < x.length; i++) x[i] = -x[i]
}

/** (R·D)ᵀ = D·L: the lower triangle with row i times its norm, zeros above. */
function triangularCore(kernels: Kernels, L: Block, norms: Float64Array): Block {
  const core = block(kernels.allocate(L.rows * L.rows).fill(0), L.rows, L.rows)
  for (let i = 0; i < L.rows; i++) {
    const from = rowOf(L, i)
    const to = rowOf(core, i)
    for (let j = 0; j <= i; j++) to[j] = from[j] * norms[i]
  }
  return core
}

function coreSvd(kernels: Kernels, core: Block, span: number, floor: number): RowSvd {
  const n = core.rows
  if (n <= JACOBI_ORDER) {
    // core = Cᵀ, so its left vectors are C's right ones.
    const { U, S, V } = jacobiSvd(plainCopy(core), 'thin', kernels)
    const Ut = block(kernels.allocate(n * n), n, n)
    const Vt = block(kernels.allocate(n * n), n, n)
    transposeBlock(block(V.data, n, n), Ut)
    transposeBlock(block(U.data, n, n), Vt)
    return { Ut, S, Vt }
  }
  const exponent = scaleToOne(core.data, kernels)
  const inner = gramLevel(kernels, core, span, floor * 2 ** -exponent)
  scaleByPowerOfTwo(inner.S, exponent)
  return inner
}

function coreValues(kernels: Kernels, core: Block, span: number, floor: number): Float64Array {
  const exponent = scaleToOne(core.data, kernels)
  const S =
    core.rows <= BIDIAGONAL_ORDER.float64
      ? kernels.singularValues(core)
      : gramValues(kernels, core, span, floor * 2 ** -exponent)
  scaleByPowerOfTwo(S, exponent)
  return S
}

const plainCopy = ({ rows, columns, data, offset }: Block): Float64Matrix => ({
  rows,
  columns,
  data: data.slice(offset, offset + rows * columns),
})

/** X ← Q·X. */
function multiplyInPlace(kernels: Kernels, Q: Block, X: Block): void {
  kernels.scope(() => {
    const copy = block(kernels.allocate(X.rows * X.columns), X.rows, X.columns)
    copyBlock(X, copy)
    kernels.gemm(Q, 'N', copy, 'N', X)
  })
}
