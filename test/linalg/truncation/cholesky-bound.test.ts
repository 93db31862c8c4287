import { describe, expect, test } from 'vitest'
import { leadingColumns, transpose } from '../../../src/linalg/matrix/matrix.ts'
import { choleskyBound, projectedGram } from '../../../src/linalg/truncation/cholesky-bound.ts'
import { engines } from './engines.ts'
import { withSpectrum } from './support.ts'

describe.each(engines)('%s engine', (_, engine) => {
  // Order 200: more than one block of the factorization.
  const s = Array.from({ length: 200 }, (_, i) => 0.95 ** i)
  const A = withSpectrum(220, 200, s, 3)
  const G = engine.gram(A)
  const V = leadingColumns(engine.svd(A, 'thin').V, 10)
  const projected = projectedGram(engine, G, V)
  const mu = s[10] ** 2

  test('the projected matrix is that of A less its leading triplets', () => {
    const { values } = engine.symmetricEigen(projected, 'none')
    for (let i = 0; i < 190; i++) expect(values[199 - i]).toBeCloseTo(s[10 + i] ** 2, 13)
    for (let i = 0; i < 10; i++) expect(values[i]).toBeCloseTo(0, 13)
    expect(transpose(projected)).toEqual(projected)
  })

  test.each([1.0001, 1.05, 2])('%f times the eigenvalue is proved, with a rounding margin', (ratio) => {
    const bound = choleskyBound(engine, projected, ratio * mu)
    expect(bound).toBeGreaterThanOrEqual(ratio * mu)
    expect(bound).toBeLessThan(ratio * mu + 1e-10)
  })

  test.each([0.9999, 0.9, 0.1, 0, -1])('%f times the eigenvalue is not', (ratio) => {
    expect(choleskyBound(engine, projected, ratio * mu)).toBeUndefined()
  })
})
