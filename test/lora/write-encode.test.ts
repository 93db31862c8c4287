import { expect, test } from 'vitest'
import { fromRows } from '../../src/linalg/matrix/matrix.ts'
import { encodeFactors } from '../../src/lora/write/encode.ts'
import { moduleOf } from './write-support.ts'

const module = moduleOf('model.o_proj.weight', [2, 3])
const floats = (bytes: Uint8Array) => [...new Float32Array(bytes.slice().buffer)]
const halves = (bytes: Uint8Array) => [...new Uint16Array(bytes.slice().buffer)]

test('smaller ranks are padded with zeros: rows of A, columns of B', () => {
  const factors = [{ B: fromRows([[1], [2]]), A: fromRows([[3, 4, 5]]) }]
  const { A, B, subnormal } = encodeFactors(module, factors, 2, 'f32')
  expect(floats(A)).toEqual([3, 4, 5, 0, 0, 0])
  expect(floats(B)).toEqual([1, 0, 2, 0])
  expect(subnormal).toBe(0)
})

test('each entry is rounded once, from float64', () => {
  // a hair above the tie of two neighbours: rounded to float32 first it would fall to the even one
  const overTie = 1 + 2 ** -11 + 2 ** -40
  const factors = [{ B: fromRows([[overTie], [1]]), A: fromRows([[1 + 2 ** -8 + 2 ** -40, 1, 1]]) }]
  expect(halves(encodeFactors(module, factors, 1, 'f16').B)).toEqual([0x3c01, 0x3c00])
  expect(halves(encodeFactors(module, factors, 1, 'bf16').A)).toEqual([0x3f81, 0x3f80, 0x3f80])
})

test('what float16 can not hold is refused, not clamped', () => {
  const of = (entry: number) => [{ B: fromRows([[entry], [-70000]]), A: fromRows([[1, 1, 1]]) }]
  expect(() => encodeFactors(module, of(66000), 1, 'f16')).toThrow(
    'tensor "model.o_proj.weight": its factor B has an entry of -7.00e+4, too large for f16; use --dtype bf16 or f32',
  )
  expect(() => encodeFactors(module, of(1e39), 1, 'bf16')).toThrow(
    /too large for bf16; leave the tensor out with --exclude/,
  )
  expect(halves(encodeFactors(module, of(66000), 1, 'bf16').B)).toHaveLength(2)
  const largest = [{ B: fromRows([[65519], [0]]), A: fromRows([[1, 1, 1]]) }]
  expect(halves(encodeFactors(module, largest, 1, 'f16').B)[0]).toBe(0x7bff)
})

test.each([
  ['f16', 2 ** -25],
  ['bf16', 2 ** -134],
  ['f32', 2 ** -150],
] as const)('a factor of which nothing would be left in %s is refused', (dtype, tie) => {
  const of = (entry: number) => [{ B: fromRows([[entry], [-entry]]), A: fromRows([[1, 1, 1]]) }]
  expect(() => encodeFactors(module, of(tie), 1, dtype)).toThrow(
    /factor B has no entry beyond .*, and all are zero in/,
  )
  expect(encodeFactors(module, of(tie * (1 + 2 ** -20)), 1, dtype).subnormal).toBe(2)
  expect(encodeFactors(module, of(0), 1, dtype).subnormal).toBe(0)
})

test('entries too small for all their digits are counted', () => {
  const factors = [{ B: fromRows([[2 ** -14], [2 ** -15]]), A: fromRows([[0, -1e-30, 1]]) }]
  expect(encodeFactors(module, factors, 1, 'f16').subnormal).toBe(2)
  expect(encodeFactors(module, factors, 1, 'bf16').subnormal).toBe(0)
})

test('factors of other shapes are a defect', () => {
  const factors = { B: fromRows([[1], [2]]), A: fromRows([[3, 4, 5]]) }
  expect(() => encodeFactors(module, [factors, factors], 1, 'f32')).toThrow(RangeError)
  expect(() => encodeFactors(module, [{ ...factors, A: fromRows([[3, 4]]) }], 1, 'f32')).toThrow(RangeError)
  expect(() => encodeFactors(module, [factors], 0, 'f32')).toThrow(RangeError)
})
