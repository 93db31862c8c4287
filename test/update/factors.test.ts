import { expect, test } from 'vitest'
import { productSquared } from '../../src/update/factors.ts'
import { product } from '../../src/update/plain.ts'
import { generator } from '../engine/support.ts'
import { factors } from './support.ts'

// plain loops find the inner products of the first ones, the embedded engine those of the last
test.each([
  [0, 5, 3],
  [7, 5, 0],
  [31, 40, 3],
  [700, 900, 17],
  [300, 200, 65],
])('‖B·A‖² of %i×%i, rank %i, is that of the product', async (rows, columns, rank) => {
  const { B, A } = factors(rows, columns, rank, generator(3))
  const expected = product(B, A).reduce((sum, x) => sum + x * x, 0)
  const found = await productSquared({ B, A })
  expect(Math.abs(found - expected)).toBeLessThanOrEqual(1e-12 * expected)
})
