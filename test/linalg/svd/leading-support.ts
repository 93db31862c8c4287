import { expect } from 'vitest'
import type { Svd } from '../../../src/linalg/engine.ts'
import { type Float64Matrix, type Matrix, transpose } from '../../../src/linalg/matrix/matrix.ts'
import { EPS, orthogonalityError, withSingularValues } from './support.ts'

/** What float32 data's singular values and residuals may be off by, beside S(0). */
const SINGLE = 2 ** -33

export const single = ({ rows, columns, data }: Float64Matrix): Matrix => ({
  rows,
  columns,
  data: Float32Array.from(data),
})

/** max |A·V − U·diag(S)| and |Aᵀ·U − V·diag(S)|. */
export function residual(A: Matrix, U: Float64Matrix, S: Float64Array, V: Float64Matrix): number {
  let worst = 0
  for (const [X, left, right] of [
    [A, U, V],
    [transpose(A) as Matrix, V, U],
  ] as const) {
    for (let i = 0; i < X.rows; i++) {
      for (let j = 0; j < left.columns; j++) {
        let sum = -left.data[i * left.columns + j] * S[j]
        for (let k = 0; k < X.columns; k++)
          sum += X.data[i * X.columns + k] * right.data[k * right.columns + j]
        worst = Math.max(worst, Math.abs(sum))
      }
    }
  }
  return worst
}

/** What `leadingSvd` owes, whatever the matrix; `full` are all triplets. */
export function expectLeading(
  A: Matrix,
  r: number,
  leadingSvd: (A: Matrix, count: (S: Float64Array) => number) => Svd,
  full: Svd,
): void {
  const seen: Float64Array[] = []
  const count = (S: Float64Array) => {
    seen.push(S.slice())
    return r
  }
  const { U, S, V } = leadingSvd(A, count)
  expect([U.rows, U.columns, V.rows, V.columns]).toEqual([A.rows, r, A.columns, r])
  expect(S).toHaveLength(full.S.length)
  const limit = 20 * SINGLE * full.S[0]
  for (const values of [S, ...seen]) {
    values.forEach((s, i) => {
      expect(Math.abs(s - full.S[i]), `S(${i})`).toBeLessThanOrEqual(limit)
    })
  }
  S.forEach((s, i) => {
    expect(s >= 0 && (i === 0 || s <= S[i - 1])).toBe(true)
  })
  expect(orthogonalityError(U)).toBeLessThan(100 * EPS)
  expect(orthogonalityError(V)).toBeLessThan(100 * EPS)
  expect(residual(A, U, S, V)).toBeLessThanOrEqual(limit)
  for (let j = 0; j < r; j++) {
    const column = Array.from({ length: U.rows }, (_, i) => U.data[i * r + j])
    expect(Math.max(...column)).toBeGreaterThanOrEqual((1 - 1e-9) * Math.max(...column.map(Math.abs)))
  }
}

/** Singular values by their places. */
export const values = {
  falling: (i: number) => 1 / (i + 1),
  spanning: (i: number) => 0.8 ** i,
  equal: () => 0.75,
  paired: (i: number) => 1 / (1 + (i >> 1)),
  noisy: (i: number) => (i < 16 ? 1 + i / 16 : 1e-8),
  zero: () => 0,
} as const

/** What singular values a matrix has, and how many leading triplets are asked for. */
export type LeadingCase = [name: string, value: (i: number) => number, count: number]

/** A matrix of each shape with so many singular values. */
export const matricesOf = (
  value: (i: number) => number,
  order: number,
  shapes: readonly (readonly [rows: number, columns: number])[],
): Float64Matrix[] => {
  const s = Array.from({ length: order }, (_, i) => value(i))
  return shapes.map(([rows, columns]) => withSingularValues(rows, columns, s, rows))
}
