import { expect, test } from 'vitest'
import { groupsOf } from '../../../src/commands/compare/groups.ts'

/** The table of these cosines of pairs; others are 0. */
function cosines(count: number, pairs: readonly (readonly [i: number, j: number, cosine: number])[]) {
  const table = Array.from({ length: count }, (_, i) =>
    Array.from({ length: count }, (_, j): number => (i === j ? 1 : 0)),
  )
  for (const [i, j, cosine] of pairs) {
    table[i][j] = cosine
    table[j][i] = cosine
  }
  return table
}

test('adapters hang together through others, and the least cosine says so', () => {
  const table = cosines(6, [
    [0, 4, 0.9],
    [4, 2, 0.5],
    [0, 2, 0.1],
    [1, 5, 0.7],
    [3, 1, 0.49],
  ])
  expect(groupsOf(table, 0.5)).toEqual([
    { adapters: [0, 2, 4], leastCosine: 0.1 },
    { adapters: [1, 5], leastCosine: 0.7 },
  ])
})

test('opposites and adapters that do nothing are in no group', () => {
  const table = cosines(3, [
    [0, 1, -1],
    [1, 2, Number.NaN],
  ])
  table[2][2] = Number.NaN
  expect(groupsOf(table, 0.5)).toEqual([])
})

test('a chain of many is one group', () => {
  const count = 500
  const pairs = Array.from({ length: count - 1 }, (_, i) => [i, i + 1, 0.6] as const)
  expect(groupsOf(cosines(count, pairs), 0.5)).toEqual([
    { adapters: Array.from({ length: count }, (_, i) => i), leastCosine: 0 },
  ])
})
