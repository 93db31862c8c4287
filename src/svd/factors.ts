import { leadingColumns, type Matrix, transpose } from '../matrix/matrix.ts'
import type { Svd } from './types.ts'

/** W ≈ B·A with B = U_r·diag(S_r) [d, r] and A = V_rᵀ [r, k]: the notebook's two factors. */
export interface Factors {
  readonly B: Matrix
  readonly A: Matrix
}

/** The factors of the best approximation of rank r (Eckart & Young 1936). r ≤ S.length. */
export function factorsOf({ U, S, V }: Svd, r: number): Factors {
  const B = leadingColumns(U, r)
  for (let at = 0, i = 0; i < B.rows; i++) for (let j = 0; j < r; j++, at++) B.data[at] *= S[j]
  return { B, A: transpose(leadingColumns(V, r)) }
}

/** The same product with √S_r on both sides: B = U_r·√S_r, A = √S_r·V_rᵀ, so that neither is large where S is. */
export function balancedFactors({ U, S, V }: Svd, r: number): Factors {
  const B = leadingColumns(U, r)
  const right = leadingColumns(V, r)
  for (const { rows, data } of [B, right]) {
    for (let at = 0, i = 0; i < rows; i++) for (let j = 0; j < r; j++, at++) data[at] *= Math.sqrt(S[j])
  }
  return { B, A: transpose(right) }
}
