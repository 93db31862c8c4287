import type { Block } from '../svd/kernels.ts'

/**
 * How two changes lie to each other. Each is U·Σ·Vᵀ with orthonormal U and V; all that is said here follows from the small matrices
 * M = U₁ᵀU₂ and N = V₁ᵀV₂, and from the singular values over their norm.
 */
export interface PairOverlap {
  /** ⟨Δ₁, Δ₂⟩ / (‖Δ₁‖‖Δ₂‖): 1 where both do the same, −1 where one undoes the other. */
  readonly cosine: number
  /** The mean cos² of the principal angles between the column spaces: 1 where one holds the other, 0 where they are orthogonal. */
  readonly columns: number
  /** The same of the row spaces. */
  readonly rows: number
  /** The share of ‖Δ₁‖² that projecting on the column and row space of Δ₂ keeps. */
  readonly keptFirst: number
  /** The share of ‖Δ₂‖² that projecting on those of Δ₁ keeps. */
  readonly keptSecond: number
}

/** The overlap of two changes, neither of them zero: M and N [p, q], and the singular values [p] and [q], of norm 1. */
export function pairOverlap(M: Block, N: Block, first: Float64Array, second: Float64Array): PairOverlap {
  const least = Math.min(first.length, second.length)
  return {
    cosine: clipped(innerProduct(M, N, first, second), -1),
    columns: clipped(squaredNorm(M) / least),
    rows: clipped(squaredNorm(N) / least),
    keptFirst: clipped(keptOfFirst(M, N, first)),
    keptSecond: clipped(keptOfSecond(M, N, second)),
  }
}

/** Rounding lets what is at most 1 be a little beyond. */
const clipped = (x: number, least = 0) => Math.max(least, Math.min(1, x))

/** tr(V₁Σ₁U₁ᵀ·U₂Σ₂V₂ᵀ) = Σ σᵢ·Mᵢⱼ·τⱼ·Nᵢⱼ. */
function innerProduct(M: Block, N: Block, first: Float64Array, second: Float64Array): number {
  let sum = 0
  for (let i = 0; i < first.length; i++) {
    let row = 0
    const [m, n] = [M.offset + i * M.stride, N.offset + i * N.stride]
    for (let j = 0; j < second.length; j++) row += M.data[m + j] * second[j] * N.data[n + j]
    sum += first[i] * row
  }
  return sum
}

function squaredNorm({ data, offset, rows, columns, stride }: Block): number {
  let sum = 0
  for (let i = 0; i < rows; i++) {
    for (let j = 0, at = offset + i * stride; j < columns; j++, at++) sum += data[at] * data[at]
  }
  return sum
}

/** ‖Mᵀ·Σ₁·N‖² [q, q]. */
function keptOfFirst(M: Block, N: Block, first: Float64Array): number {
  const q = M.columns
  const product = new Float64Array(q * q)
  for (let i = 0; i < first.length; i++) {
    const [m, n] = [M.offset + i * M.stride, N.offset + i * N.stride]
    for (let j = 0, at = 0; j < q; j++) {
      const factor = M.data[m + j] * first[i]
      for (let k = 0; k < q; k++, at++) product[at] += factor * N.data[n + k]
    }
  }
  return product.reduce((sum, x) => sum + x * x, 0)
}

/** ‖M·Σ₂·Nᵀ‖² [p, p]. */
function keptOfSecond(M: Block, N: Block, second: Float64Array): number {
  let squares = 0
  for (let i = 0; i < M.rows; i++) {
    const m = M.offset + i * M.stride
    for (let k = 0; k < N.rows; k++) {
      const n = N.offset + k * N.stride
      let sum = 0
      for (let j = 0; j < second.length; j++) sum += M.data[m + j] * second[j] * N.data[n + j]
      squares += sum * sum
    }
  }
  return squares
}
