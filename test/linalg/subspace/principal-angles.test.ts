import { expect, test } from 'vitest'
import { jsEngine } from '../../../src/engine/js/js-engine.ts'
import { createWasmEngine } from '../../../src/engine/wasm/wasm-engine.ts'
import { zeros } from '../../../src/linalg/matrix/matrix.ts'
import { principalAngles } from '../../../src/linalg/subspace/principal-angles.ts'
import { orthonormal, plantedBases, times } from './planted.ts'

/** Degrees. */
const NEAR = 1e-10
const engines = [jsEngine, createWasmEngine({ threads: 1 })]

const worst = (found: Float64Array, expected: readonly number[]) =>
  Math.max(...expected.map((angle, k) => Math.abs(found[k] - angle)))

test.each([
  { n: 30, p: 4, angles: [0, 10, 45, 90] },
  // cosines of these are 1 to rounding, and their sines are not
  { n: 40, p: 5, angles: [1e-9, 1e-6, 1e-4, 44.9999, 45.0001] },
  // sines of these are 1 to rounding
  { n: 40, p: 4, angles: [89, 89.9999, 89.9999999, 90] },
  { n: 25, p: 7, angles: [3, 60] },
  { n: 12, p: 9, angles: [0.5, 30, 80] },
])('planted angles $angles of $p and their number of directions in $n dimensions', ({ n, p, angles }) => {
  const { P, Q } = plantedBases(n, p, angles, n + p)
  for (const engine of engines) {
    const [there, back] = [principalAngles(engine, P, Q), principalAngles(engine, Q, P)]
    expect(there).toHaveLength(angles.length)
    expect(worst(there, angles)).toBeLessThan(NEAR)
    expect(worst(back, angles)).toBeLessThan(NEAR)
  }
})

test('a space and itself in another basis have none', () => {
  const P = orthonormal(50, 8, 3)
  const angles = principalAngles(jsEngine, P, times(P, orthonormal(8, 8, 4)))
  expect(Math.max(...angles)).toBeLessThan(NEAR)
})

test('a space that is all there is holds every other', () => {
  const angles = principalAngles(jsEngine, orthonormal(6, 6, 1), orthonormal(6, 2, 2))
  expect(angles).toHaveLength(2)
  expect(Math.max(...angles)).toBeLessThan(NEAR)
})

test('a space of no dimension has no angles', () => {
  expect(principalAngles(jsEngine, zeros(6, 0), orthonormal(6, 2, 2))).toHaveLength(0)
})
