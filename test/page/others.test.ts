import { expect, test } from 'vitest'
import { jsEngine } from '../../src/engine/js/js-engine.ts'
import { matrix } from '../../src/linalg/matrix/matrix.ts'
import { optimalError } from '../../src/linalg/spectrum/ranks.ts'
import { type OtherKind, otherFactors } from '../../src/page/lesson/others.ts'
import { seedrandomNormals } from '../../src/random/seedrandom.ts'

const W = matrix(9, 7, seedrandomNormals(5n).normals(63, 'f64'))

function errorsOf(rank: number) {
  const found: Record<OtherKind, number[][]> = { random: [], fitted: [], gradient: [] }
  for (const { kind, errors } of otherFactors(W, rank, 1n, jsEngine)) {
    found[kind].push([...errors])
  }
  return found
}

test('a thousand are tried, and none is below what Eckart and Young allow', () => {
  const optimum = optimalError(jsEngine.svd(W, 'none').S, 3)
  const { random, fitted, gradient } = errorsOf(3)
  const all = [...random, ...fitted, ...gradient].flat()
  expect(all.length).toBe(1000)
  expect(Math.min(...all)).toBeGreaterThan(optimum - 1e-12)
  // scaled to fit: worse than nothing would be above 1
  expect(Math.max(...all)).toBeLessThanOrEqual(1 + 1e-12)
})

test('steps along the gradient only go down, and end near the optimum', () => {
  const optimum = optimalError(jsEngine.svd(W, 'none').S, 3)
  const { gradient } = errorsOf(3)
  expect(gradient.length).toBe(8)
  for (const errors of gradient) {
    for (let i = 1; i < errors.length; i++) expect(errors[i]).toBeLessThanOrEqual(errors[i - 1] + 1e-12)
  }
  expect(Math.min(...gradient.flat())).toBeLessThan(optimum * 1.02)
})

test('a random B of the full rank needs only the best A', () => {
  const square = matrix(4, 4, seedrandomNormals(2n).normals(16, 'f64'))
  const found = [...otherFactors(square, 4, 3n, jsEngine)]
  const fitted = found.filter(({ kind }) => kind === 'fitted').flatMap(({ errors }) => errors)
  expect(fitted.length).toBe(300)
  expect(Math.max(...fitted)).toBeLessThan(1e-12)
})

test('nobody finds by chance what W was made of', () => {
  const stream = seedrandomNormals(4n)
  const [left, right] = [matrix(8, 2, stream.normals(16, 'f64')), matrix(2, 6, stream.normals(12, 'f64'))]
  const found = [...otherFactors(jsEngine.multiply(left, right), 2, 4n, jsEngine)]
  const random = found.filter(({ kind }) => kind === 'random').flatMap(({ errors }) => errors)
  expect(Math.min(...random)).toBeGreaterThan(0.01)
})
