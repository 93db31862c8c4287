import { expect, test } from 'vitest'
import { mt19937 } from '../../src/random/torch.ts'

test('the 10000th word of seed 5489 is the one the C++ standard names ([rand.predef])', () => {
  const word = mt19937(5489)
  for (let i = 1; i < 10_000; i++) word()
  expect(word()).toBe(4123659995)
})

test('the first words of seed 5489, as the reference program prints them', () => {
  const word = mt19937(5489)
  expect(Array.from({ length: 5 }, word)).toEqual([3499211612, 581869302, 3890346734, 3586334585, 545404204])
})

test('only the low 32 bits of the seed count', () => {
  expect(mt19937(2 ** 32 + 5)()).toBe(mt19937(5)())
  expect(mt19937(-1)()).toBe(mt19937(2 ** 32 - 1)())
})
