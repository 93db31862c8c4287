import { type Float64Matrix, identity, zeros } from './matrix.ts'

/** A matrix as L·R: L [m, p], R [p, n]. */
export interface ThinProduct {
  readonly L: Float64Matrix
  readonly R: Float64Matrix
}

/** W = L·R without a computation: one of the two is W, the other the identity of W's shorter side. */
export const thinProduct = (W: Float64Matrix): ThinProduct =>
  W.columns <= W.rows ? { L: W, R: identity(W.columns) } : { L: identity(W.rows), R: W }

/**
 * (L₁·R₁) ∘ (L₂·R₂), the entrywise (Hadamard) product, as factors: column (i, j) of the left one is L₁[:, i] ∘ L₂[:, j], row (i, j) of the
 * right one R₁[i, :] ∘ R₂[j, :] (the Khatri–Rao products; Horn and Johnson, Topics in Matrix Analysis, 5.1). Exact but for one
 * rounding an entry. Where p₁·p₂ is beyond the shorter side the product itself is formed, and is one of the two.
 */
export function hadamardFactors(
  first: ThinProduct,
  second: ThinProduct,
): [L: Float64Matrix, R: Float64Matrix] {
  const [p, q] = [first.L.columns, second.L.columns]
  const [rows, columns] = [first.L.rows, first.R.columns]
  if (p * q > Math.min(rows, columns)) {
    const W = product(first)
    const other = product(second)
    for (let i = 0; i < W.data.length; i++) W.data[i] *= other.data[i]
    const { L, R } = thinProduct(W)
    return [L, R]
  }
  const left = zeros(rows, p * q)
  for (let row = 0, at = 0; row < rows; row++) {
    for (let i = 0; i < p; i++) {
      for (let j = 0; j < q; j++) left.data[at++] = first.L.data[row * p + i] * second.L.data[row * q + j]
    }
  }
  const right = zeros(p * q, columns)
  for (let i = 0, at = 0; i < p; i++) {
    for (let j = 0; j < q; j++) {
      for (let c = 0; c < columns; c++) {
        right.data[at++] = first.R.data[i * columns + c] * second.R.data[j * columns + c]
      }
    }
  }
  return [left, right]
}

/** (L₁·R₁) ⊗ (L₂·R₂) = (L₁ ⊗ L₂)·(R₁ ⊗ R₂): the Kronecker product as factors of p₁·p₂ columns. */
export const kroneckerFactors = (
  first: ThinProduct,
  second: ThinProduct,
): [L: Float64Matrix, R: Float64Matrix] => [kronecker(first.L, second.L), kronecker(first.R, second.R)]

/** A ⊗ B: the block (i, j) is A[i, j]·B. */
export function kronecker(A: Float64Matrix, B: Float64Matrix): Float64Matrix {
  const out = zeros(A.rows * B.rows, A.columns * B.columns)
  for (let i = 0, at = 0; i < A.rows; i++) {
    for (let k = 0; k < B.rows; k++) {
      for (let j = 0; j < A.columns; j++) {
        const a = A.data[i * A.columns + j]
        for (let l = 0; l < B.columns; l++) out.data[at++] = a * B.data[k * B.columns + l]
      }
    }
  }
  return out
}

function product({ L, R }: ThinProduct): Float64Matrix {
  const out = zeros(L.rows, R.columns)
  for (let i = 0; i < L.rows; i++) {
    const row = out.data.subarray(i * R.columns, (i + 1) * R.columns)
    for (let k = 0; k < L.columns; k++) {
      const x = L.data[i * L.columns + k]
      for (let j = 0; j < R.columns; j++) row[j] += x * R.data[k * R.columns + j]
    }
  }
  return out
}
