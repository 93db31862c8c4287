import type { Engine } from '../engine.ts'
import { type Float64Matrix, matrix } from '../matrix/matrix.ts'
import { choleskyTransposed } from '../svd/cholesky.ts'

/**
 * The norm that inputs feel. With C = E[x·xᵀ] of a layer's inputs, E‖D·x‖² = ‖D·R‖_F² for any R with R·Rᵀ = C, and the best
 * matrix of rank r in it is U·Uᵀ·Δ, U the leading left singular vectors of Δ·R: no inverse of R is needed, and ‖U·Uᵀ·Δ‖ ≤ ‖Δ‖
 * however singular C is.
 */
export type Root =
  /** C = I: nothing is weighed. */
  | { readonly kind: 'unit' }
  /** C is diagonal: R scales columns. */
  | ({ readonly kind: 'diagonal'; readonly scale: Float64Array } & RootFacts)
  /** R = L of C = L·Lᵀ, kept as Lᵀ [k, k], zeros below its diagonal. */
  | ({ readonly kind: 'triangular'; readonly Lt: Float64Matrix } & RootFacts)
  /** R = Q·diag(√λ) [k, k]. */
  | ({ readonly kind: 'eigen'; readonly R: Float64Matrix } & RootFacts)

export interface RootFacts {
  /** Directions of so little in them that the floor stands in for it. */
  readonly floored: number
}

/**
 * Directions that the calibration hardly saw count as if they had this share of the mean eigenvalue, 1e-4 of the mean size of an input.
 * Float32 leaves eigenvalues of a matrix of moments uncertain by about 1e-7 of the mean (measured: ±5e-7 where they are zero), so a floor of that
 * size or less moves no figure of what was seen by more than 1e-6; and it makes every change count, so that where C is singular ranks beyond the
 * directions seen go to the largest of the rest.
 */
export const EIGENVALUE_FLOOR = 1e-8

/**
 * A matrix of moments that was rounded to float32 has no eigenvalue below −2⁻²⁴·tr C, as |c_ij| ≤ √(c_ii·c_jj); sums in float32 are off by a few
 * such roundings. Below this many of them it is no matrix of moments.
 */
const ROUNDINGS = 64
const ROUNDING = 2 ** -24

/** C has an eigenvalue that is more negative than rounding explains; it is given relative to the mean one. */
export interface NotPositive {
  readonly kind: 'negative'
  readonly eigenvalue: number
}

export type RootEngine = Pick<Engine, 'multiply' | 'gram' | 'symmetricEigen'>

/** R of a diagonal C, which has no negative entry. */
export function rootOfDiagonal(values: Float64Array): Root {
  const floor = EIGENVALUE_FLOOR * meanOf(values)
  const scale = values.map((x) => Math.sqrt(Math.max(x, floor)))
  if (scale.every((x) => x === 1)) return { kind: 'unit' }
  return { kind: 'diagonal', scale, floored: values.filter((x) => x < floor).length }
}

/**
 * R of C [k, k], symmetric, in float64: Cholesky's factor of C itself where no pivot shows a direction below the floor, else by eigenvalues, raised
 * to the floor. 'negative' where an eigenvalue is more negative than rounding explains.
 */
export function rootOf(engine: RootEngine, C: Float64Matrix): Root | NotPositive {
  const k = C.rows
  const diagonal = Float64Array.from({ length: k }, (_, i) => C.data[i * k + i])
  if (isDiagonal(C)) return rootOfDiagonal(diagonal)
  const mean = meanOf(diagonal)
  const floor = EIGENVALUE_FLOOR * mean
  const Lt = choleskyTransposed(engine, { ...C, data: C.data.slice() }, floor)
  if (Lt !== undefined) return { kind: 'triangular', Lt, floored: 0 }
  const { values, vectors } = engine.symmetricEigen(C, 'thin')
  if (values[0] < -ROUNDINGS * ROUNDING * k * mean) return { kind: 'negative', eigenvalue: values[0] / mean }
  const roots = values.map((x) => Math.sqrt(Math.max(x, floor)))
  const R = matrix(k, k, vectors.data.slice())
  for (let i = 0, at = 0; i < k; i++) for (let j = 0; j < k; j++, at++) R.data[at] *= roots[j]
  return { kind: 'eigen', R, floored: values.filter((x) => x < floor).length }
}

const meanOf = (values: Float64Array) => values.reduce((sum, x) => sum + x, 0) / values.length

function isDiagonal({ rows, data }: Float64Matrix): boolean {
  for (let i = 0, at = 0; i < rows; i++) {
    for (let j = 0; j < rows; j++, at++) if (i !== j && data[at] !== 0) return false
  }
  return true
}
