import { describe, expect, test } from 'vitest'
import { type Matrix, matrix, toFloat32, toFloat64, transpose } from '../../../src/linalg/matrix/matrix.ts'
import {
  besideColumns,
  columnRange,
  columnSquares,
  difference,
  scaleColumns,
} from '../../../src/linalg/truncation/columns.ts'
import { orthonormalize } from '../../../src/linalg/truncation/orthonormalize.ts'
import { uniformColumns } from '../../../src/linalg/truncation/streams.ts'
import { orthogonalityError } from '../svd/support.ts'
import { engines } from './engines.ts'
import { gaussian } from './support.ts'

const M = 60
const KEY = new Uint8Array(32)

/** Columns like the first of `X`, off by `distance` in random directions: condition about 1/distance. */
function nearlyParallel(X: Matrix, distance: number): Matrix {
  const noise = gaussian(X.rows, X.columns, 99)
  return matrix(
    X.rows,
    X.columns,
    X.data.map((_: number, at: number) => X.data[at - (at % X.columns)] + distance * noise.data[at]),
  )
}

const graded = gaussian(M, 9, 4)
scaleColumns(
  graded,
  Float64Array.from({ length: 9 }, (_, j) => 10 ** (-3 * j)),
)

const blocks: readonly (readonly [string, Matrix])[] = [
  ['random', gaussian(M, 7, 1)],
  ['graded by 1e24', graded],
  ['condition 1e5', nearlyParallel(gaussian(M, 7, 2), 1e-5)],
  ['condition 1e10', nearlyParallel(gaussian(M, 7, 2), 1e-10)],
  ['all columns the same', nearlyParallel(gaussian(M, 7, 2), 0)],
  ['zero', matrix(M, 5, new Float64Array(M * 5))],
  ['some columns zero', besideColumns(matrix(M, 3, new Float64Array(M * 3)), gaussian(M, 3, 5))],
]

describe.each(engines)('%s engine', (_, engine) => {
  const V = engine.qr(gaussian(M, 20, 8)).Q
  const Vt = transpose(V)

  describe.each([
    ['f64', 1e-14],
    ['f32', 2e-6],
  ] as const)('%s', (type, tolerance) => {
    const stored = type === 'f32' ? toFloat32 : (X: Matrix) => X
    const draw = uniformColumns(M, type, KEY)

    test.each(blocks)('%s: orthonormal, orthogonal to what is there, and of full width', (_, X) => {
      const { basis } = orthonormalize(engine, stored(X), [stored(Vt)], draw)
      expect(basis.columns).toBe(X.columns)
      expect(basis.data).toBeInstanceOf(type === 'f32' ? Float32Array : Float64Array)
      expect(orthogonalityError(besideColumns(V, basis))).toBeLessThan(tolerance)
    })

    test.each(blocks)('%s: spans what X adds, but for what is said to be lost', (_, X) => {
      const B = stored(X)
      const { basis, lost } = orthonormalize(engine, B, [stored(Vt)], draw)
      let rest = toFloat64(B)
      for (const Q of [V, toFloat64(basis)]) {
        rest = toFloat64(difference(rest, engine.multiply(Q, engine.multiply(Q, rest, { transposeA: true }))))
      }
      // Rounding of a column is relative to that column.
      const sizes = columnSquares(B).map(Math.sqrt)
      columnSquares(rest).forEach((square, j) => {
        expect(Math.sqrt(square)).toBeLessThanOrEqual(lost + 20 * tolerance * sizes[j])
      })
      expect(lost).toBeLessThanOrEqual(20 * 2 ** (type === 'f32' ? -23 : -52) * Math.hypot(...sizes))
    })
  })

  test('what lies in the span of the others is replaced', () => {
    const X = columnRange(V, 3, 8)
    const { basis } = orthonormalize(engine, X, [Vt], uniformColumns(M, 'f64', KEY))
    expect(orthogonalityError(besideColumns(V, basis))).toBeLessThan(1e-14)
  })

  test('no more columns than the space has room for', () => {
    const W = engine.qr(gaussian(M, 57, 3)).Q
    const { basis } = orthonormalize(engine, gaussian(M, 7, 4), [transpose(W)], uniformColumns(M, 'f64', KEY))
    expect(basis.columns).toBe(3)
    expect(orthogonalityError(besideColumns(W, basis))).toBeLessThan(1e-14)
    const full = engine.qr(gaussian(M, M, 3)).Q
    expect(
      orthonormalize(engine, gaussian(M, 7, 4), [transpose(full)], uniformColumns(M, 'f64', KEY)).basis
        .columns,
    ).toBe(0)
  })

  test('orthonormal columns stay where they are', () => {
    const { basis } = orthonormalize(engine, V, [], uniformColumns(M, 'f64', KEY))
    basis.data.forEach((x, at) => {
      expect(Math.abs(x - V.data[at])).toBeLessThan(1e-14)
    })
  })
})
