import { expect, test } from 'vitest'
import { lowExactRankLimit } from '../../../src/linalg/spectrum/measures.ts'

test.each([
  [3, 2, 1],
  [2, 2, 1],
  [5, 4, 1],
  [64, 64, 16],
  [1, 9, 0],
  [9, 1, 0],
  [0, 0, 0],
])('an exact rank is low in a matrix of %d × %d up to %d', (rows, columns, limit) => {
  expect(lowExactRankLimit(rows, columns)).toBe(limit)
})
