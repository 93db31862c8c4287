import { expect, it } from 'vitest'
import { jsEngine, multiply as plainMultiply } from '../../src/engine/js/js-engine.ts'
import type { Engine } from '../../src/linalg/engine.ts'
import { fromRows, identity, matrix, toFloat64, transpose, zeros } from '../../src/linalg/matrix/matrix.ts'
import { EPS } from '../linalg/svd/support.ts'
import { describeLapack } from './lapack-suite.ts'
import { testResident as testResidentInAllTypes } from './resident-suite.ts'
import { absolute, generator, largestExcess, randomMatrix, sameBits } from './support.ts'

describeLapack({
  multiply: testMultiply,
  gram: testGram,
  resident: testResident,
})

function testMultiply(engine: Engine): void {
  const shapes = [
    [0, 3, 2],
    [3, 0, 2],
    [3, 2, 0],
    [1, 1, 1],
    [2, 3, 4],
    [17, 33, 9],
    [64, 130, 71],
    [5, 700, 3],
  ]
  it.each([
    ['f32', 'f32', 2 ** -23],
    ['f64', 'f64', EPS],
    ['f32', 'f64', EPS],
    ['f64', 'f32', EPS],
  ] as const)('%s by %s, all ways of transposing', (left, right, eps) => {
    const random = generator(1)
    for (const [m, k, n] of shapes) {
      const A = randomMatrix(m, k, left, random)
      const B = randomMatrix(k, n, right, random)
      const truth = plainMultiply(toFloat64(A), toFloat64(B))
      const bound = plainMultiply(absolute(A), absolute(B))
      for (const transposeA of [false, true]) {
        for (const transposeB of [false, true]) {
          const C = engine.multiply(transposeA ? transpose(A) : A, transposeB ? transpose(B) : B, {
            transposeA,
            transposeB,
          })
          expect(C.data.constructor).toBe(eps === EPS ? Float64Array : Float32Array)
          expect(largestExcess(C, truth, bound, (k + 1) * eps)).toBeLessThanOrEqual(1)
        }
      }
    }
  })

  it('reads views that begin inside a buffer, and writes nothing but its result', () => {
    const random = generator(2)
    const around = randomMatrix(1, 3 + 6 * 5 + 4, 'f64', random).data
    const before = around.slice()
    const A = matrix(6, 5, around.subarray(3, 33))
    const B = randomMatrix(5, 4, 'f64', random)
    expect(sameBits(engine.multiply(A, B), engine.multiply(matrix(6, 5, A.data.slice()), B))).toBe(true)
    expect(around).toEqual(before)
  })

  it('refuses operands that don’t fit', () => {
    expect(() => engine.multiply(zeros(2, 3), zeros(2, 3))).toThrow(RangeError)
    expect(() => engine.multiply(zeros(2, 3), zeros(3, 2), { transposeA: true })).toThrow(RangeError)
    expect(() => engine.multiply(zeros(2, 3), zeros(3, 2), { transposeB: true })).toThrow(RangeError)
  })
}

function testGram(engine: Engine): void {
  it.each(['f32', 'f64'] as const)('of %s in float64, exactly symmetric', (type) => {
    const random = generator(3)
    for (const [m, n] of [
      [0, 3],
      [3, 0],
      [1, 1],
      [9, 4],
      [4, 9],
      [300, 70],
      // several panels of rows
      [9000, 40],
    ]) {
      const A = randomMatrix(m, n, type, random)
      const G = engine.gram(A)
      expect(
        largestExcess(G, jsEngine.gram(A), jsEngine.gram(absolute(A)), (m + 1) * EPS),
      ).toBeLessThanOrEqual(1)
      expect(sameBits(G, transpose(G))).toBe(true)
      const ofRows = engine.gram(transpose(A), 'rows')
      expect(
        largestExcess(ofRows, jsEngine.gram(A), jsEngine.gram(absolute(A)), (m + 1) * EPS),
      ).toBeLessThanOrEqual(1)
      expect(sameBits(ofRows, transpose(ofRows))).toBe(true)
    }
  })
}

function testResident(engine: Engine): void {
  testResidentInAllTypes(engine, {
    products: [
      [0, 3, 2],
      [3, 0, 2],
      [3, 2, 0],
      [1, 1, 1],
      [7, 5, 3],
      [130, 67, 9],
      // several panels of rows
      [70, 9000, 2],
    ],
    sums: [
      [0, 4, 1],
      [1, 1, 1],
      [129, 260, 5],
      [33, 515, 0],
      [70, 9000, 3],
    ],
  })

  it('finds the distance of nearly equal matrices without cancellation, and leaves A as it was', () => {
    const random = generator(13)
    const B = toFloat64(randomMatrix(200, 3, 'f64', random))
    const C = toFloat64(randomMatrix(3, 150, 'f64', random))
    const A = plainMultiply(B, C)
    A.data[77] += 2 ** -30
    const before = A.data.slice()
    const held = engine.resident(A)
    expect(held.residualSquared(B, C) / 2 ** -60).toBeCloseTo(1, 5)
    expect(A.data).toEqual(before)
  })

  it('keeps float arrays without a copy, and gives results that are its own', () => {
    const A = { rows: 2, columns: 2, data: identity(2).data }
    const held = engine.resident(A)
    const X = fromRows([[1], [2]])
    const first = held.multiply(X)
    A.data[0] = 5
    expect(Array.from(held.multiply(X).data)).toEqual([5, 2])
    expect(Array.from(first.data)).toEqual([1, 2])
    expect(Array.from(X.data)).toEqual([1, 2])
  })

  it('refuses shapes that don’t fit, and any use after release', () => {
    const held = engine.resident(zeros(3, 2))
    expect(() => held.multiply(zeros(3, 1))).toThrow(RangeError)
    expect(() => held.multiplyTransposed(zeros(2, 1))).toThrow(RangeError)
    expect(() => held.multiplyNormal(zeros(3, 1))).toThrow(RangeError)
    expect(() => held.residualSquared(zeros(3, 1), zeros(2, 2))).toThrow(RangeError)
    expect(() => held.residualSquared(zeros(2, 1), zeros(1, 2))).toThrow(RangeError)
    held.release()
    const uses = [
      () => held.multiply(zeros(2, 1)),
      () => held.multiplyTransposed(zeros(3, 1)),
      () => held.multiplyNormal(zeros(2, 1)),
      () => held.frobeniusSquared(),
      () => held.residualSquared(zeros(3, 1), zeros(1, 2)),
    ]
    for (const use of uses) expect(use).toThrow('this resident matrix has been released')
    expect(() => held.release()).not.toThrow()
  })
}
