import { describe, expect, test } from 'vitest'
import { jsEngine } from '../../../src/engine/js/js-engine.ts'
import { type Float64Matrix, matrix, transpose } from '../../../src/linalg/matrix/matrix.ts'
import { pairOverlap } from '../../../src/linalg/subspace/pair-overlap.ts'
import { block, part } from '../../../src/linalg/svd/kernels.ts'
import { orthonormal, plantedBases, times } from './planted.ts'

const NEAR = 12

interface Change {
  readonly U: Float64Matrix
  readonly S: Float64Array
  readonly V: Float64Matrix
}

const unit = (values: readonly number[]) => {
  const norm = Math.hypot(...values)
  return Float64Array.from(values, (x) => x / norm)
}

const diagonal = (values: Float64Array) =>
  matrix(
    values.length,
    values.length,
    Float64Array.from({ length: values.length ** 2 }, (_, at) =>
      at % (values.length + 1) === 0 ? values[at / (values.length + 1)] : 0,
    ),
  )

const whole = (A: Float64Matrix) => block(A.data, A.rows, A.columns)

const overlapOf = (a: Change, b: Change) =>
  pairOverlap(whole(times(transpose(a.U), b.U)), whole(times(transpose(a.V), b.V)), a.S, b.S)

/** The same from the whole matrices, by the definitions. */
function byDefinition(a: Change, b: Change) {
  const [first, second] = [a, b].map(({ U, S, V }) => times(times(U, diagonal(S)), transpose(V)))
  const inner = (X: Float64Matrix, Y: Float64Matrix) => X.data.reduce((sum, x, i) => sum + x * Y.data[i], 0)
  const squared = (X: Float64Matrix) => inner(X, X)
  const projector = (Q: Float64Matrix) => times(Q, transpose(Q))
  const kept = (X: Float64Matrix, { U, V }: Change) =>
    squared(times(times(projector(U), X), projector(V))) / squared(X)
  const least = Math.min(a.S.length, b.S.length)
  return {
    cosine: inner(first, second) / Math.sqrt(squared(first) * squared(second)),
    columns: squared(times(transpose(a.U), b.U)) / least,
    rows: squared(times(transpose(a.V), b.V)) / least,
    keptFirst: kept(first, b),
    keptSecond: kept(second, a),
  }
}

describe('the overlap of two changes', () => {
  const a = { U: orthonormal(20, 4, 1), S: unit([4, 3, 1, 0.1]), V: orthonormal(15, 4, 2) }
  const b = { U: orthonormal(20, 6, 3), S: unit([5, 4, 3, 2, 1, 0.5]), V: orthonormal(15, 6, 4) }

  test('is that of the whole matrices', () => {
    for (const [one, other] of [
      [a, b],
      [b, a],
    ]) {
      const [found, expected] = [overlapOf(one, other), byDefinition(one, other)]
      for (const key of ['cosine', 'columns', 'rows', 'keptFirst', 'keptSecond'] as const)
        expect(found[key]).toBeCloseTo(expected[key], NEAR)
    }
  })

  test('with itself is 1 all through, and with its opposite has the cosine −1', () => {
    expect(Object.values(overlapOf(a, a)).every((x) => Math.abs(x - 1) < 1e-12)).toBe(true)
    const opposite = { ...a, U: { ...a.U, data: a.U.data.map((x) => -x) } }
    expect(overlapOf(a, opposite)).toMatchObject({ cosine: expect.closeTo(-1, NEAR) })
    expect(overlapOf(a, opposite).keptFirst).toBeCloseTo(1, NEAR)
  })

  test('has the mean cos² of planted angles', () => {
    const angles = [5, 25, 70]
    const { P, Q } = plantedBases(20, 4, angles, 9)
    const turned = { U: Q, S: unit([1, 1, 1]), V: orthonormal(15, 3, 5) }
    const mean = angles.reduce((sum, angle) => sum + Math.cos((angle * Math.PI) / 180) ** 2, 0) / 3
    expect(overlapOf({ ...a, U: P }, turned).columns).toBeCloseTo(mean, NEAR)
  })

  test('is the same from a part of a larger matrix of products', () => {
    const all = jsEngine.gram(matrix(3, 3, Float64Array.of(1, 2, 0, 0, 1, 1, 2, 0, 1)))
    const inside = part(block(all.data, 3, 3), 0, 1, 1, 2)
    const alone = block(Float64Array.of(all.data[1], all.data[2]), 1, 2)
    const [p, q] = [unit([1]), unit([2, 1])]
    expect(pairOverlap(inside, inside, p, q)).toEqual(pairOverlap(alone, alone, p, q))
  })
})
