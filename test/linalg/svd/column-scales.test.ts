import { describe, expect, test } from 'vitest'
import { type Float64Matrix, matrix, transpose, zeros } from '../../../src/linalg/matrix/matrix.ts'
import { jacobiSvd } from '../../../src/linalg/svd/jacobi.ts'
import { engines } from '../truncation/engines.ts'
import { gaussian, withSpectrum } from '../truncation/support.ts'
import { orthogonalityError } from './support.ts'

/** A with column j times 2^e(j). */
const scaledColumns = (A: Float64Matrix, e: (j: number) => number): Float64Matrix =>
  matrix(
    A.rows,
    A.columns,
    A.data.map((x, at) => x * 2 ** e(at % A.columns)),
  )

/** Well-conditioned but for what its columns are multiplied by. */
const tame = (n: number) =>
  withSpectrum(
    n + 4,
    n,
    Float64Array.from({ length: n }, (_, i) => 1 + i / n),
    7,
  )

describe('columns whose sizes are far apart keep the digits of small singular values', () => {
  // The last columns are so small that their part of the singular values is that of their block alone: [C D·2^−e] has the
  // values of C and 2^−e times those of D orthogonal to C.
  for (const n of [4, 30, 64, 100]) {
    const A = tame(n)
    const count = n >> 1
    const small = (e: number) => scaledColumns(A, (j) => (j < n - count ? 0 : -e))
    // 2^-100 is small enough for the closed form and large enough for any route
    const expected = jacobiSvd(small(100)).S.slice(n - count)

    test.each([300, 520, 700, 1000])(`order ${n}, 2^-%i`, (e) => {
      for (const [name, engine] of engines) {
        for (const X of [small(e), scaledColumns(small(e), () => 20)]) {
          const lift = X.data[0] / A.data[0]
          const { U, S, V } = engine.svd(X, 'thin')
          const values = engine.svd(X, 'none').S
          for (let i = 0; i < count; i++) {
            const scale = 2 ** (100 - e) * lift
            for (const found of [S, values])
              expect([name, i, found[n - count + i] / (expected[i] * scale)]).toEqual([
                name,
                i,
                expect.closeTo(1, 12),
              ])
          }
          expect(orthogonalityError(U)).toBeLessThan(1e-13)
          expect(orthogonalityError(V)).toBeLessThan(1e-13)
        }
      }
    })
  }

  test('closed form of two columns: the area they span is the product of both values', () => {
    for (const e of [10, 200, 500, 512, 800, 1000]) {
      // [1, 2^-e; 1, 2·2^-e]: σ₁² ≈ 2, σ₁·σ₂ = 2^-e
      const A = matrix(2, 2, Float64Array.of(1, 2 ** -e, 1, 2 * 2 ** -e))
      for (const X of [A, transpose(A)]) {
        const { S } = jacobiSvd(X)
        if (e > 30) expect(S[0]).toBeCloseTo(Math.SQRT2, 14)
        expect((S[0] * S[1]) / 2 ** -e).toBeCloseTo(1, 13)
      }
    }
  })

  test('equal columns but for sizes far apart: rank 1, and the rest is rounding', () => {
    for (const e of [200, 600]) {
      const { S, U, V } = jacobiSvd(
        matrix(
          30,
          3,
          Float64Array.from({ length: 90 }, (_, at) => 2 ** (-e * (at % 3))),
        ),
      )
      expect(S[0]).toBeCloseTo(Math.sqrt(30), 13)
      expect(S[1]).toBeLessThan(1e-14 * 2 ** -e)
      expect(orthogonalityError(U)).toBeLessThan(1e-13)
      expect(orthogonalityError(V)).toBeLessThan(1e-13)
    }
  })

  test('columns of all sizes between the least and the largest number', () => {
    const n = 40
    const e = (j: number) => Math.round(-1000 + (2000 * ((j * 17) % n)) / n)
    const { S, U, V } = jacobiSvd(scaledColumns(gaussian(60, n, 3), e))
    // QR of the columns by falling size: σ are the diagonal of R, as each column is 2^-50 of the one before
    const order = Array.from({ length: n }, (_, j) => j).sort((a, b) => e(b) - e(a))
    const G = gaussian(60, n, 3)
    const sorted = zeros(60, n)
    for (let i = 0; i < 60; i++)
      order.forEach((j, at) => {
        sorted.data[i * n + at] = G.data[i * n + j]
      })
    const { R } = engines[0][1].qr(sorted)
    order.forEach((j, i) => {
      expect(S[i] / (Math.abs(R.data[i * n + i]) * 2 ** e(j))).toBeCloseTo(1, 12)
    })
    expect(orthogonalityError(U)).toBeLessThan(1e-13)
    expect(orthogonalityError(V)).toBeLessThan(1e-13)
  })
})
