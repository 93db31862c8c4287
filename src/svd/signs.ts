import type { Float64Matrix } from '../matrix/matrix.ts'

/** Entries this close to the largest count as ties, so that rounding doesn't decide the sign of a vector. */
const TIE = 1 - 1e-10

/**
 * Flips pairs of columns in place so that the largest |entry| of each column of U is positive, the first of
 * ties deciding; U·diag(S)·Vᵀ is unchanged. The u-based rule of scikit-learn's svd_flip. U [m, n], V [k, n].
 */
export function fixSigns(U: Float64Matrix, V: Float64Matrix): void {
  const n = U.columns
  const largest = new Float64Array(n)
  for (let at = 0, i = 0; i < U.rows; i++) {
    for (let j = 0; j < n; j++, at++) largest[j] = Math.max(largest[j], Math.abs(U.data[at]))
  }
  const sign = new Float64Array(n)
  for (let at = 0, i = 0; i < U.rows; i++) {
    for (let j = 0; j < n; j++, at++) {
      if (sign[j] === 0 && Math.abs(U.data[at]) >= TIE * largest[j]) sign[j] = U.data[at] < 0 ? -1 : 1
    }
  }
  for (const side of [U, V]) {
    for (let at = 0, i = 0; i < side.rows; i++) {
      for (let j = 0; j < n; j++, at++) if (sign[j] < 0) side.data[at] = -side.data[at]
    }
  }
}
