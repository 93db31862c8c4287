import { expect, test } from 'vitest'
import { fromRows, type Matrix, matrix } from '../../src/linalg/matrix/matrix.ts'
import { encodeFactors } from '../../src/lora/write/encode.ts'
import { encodePacked, packedFactors, unpackedFactors } from '../../src/lora/write/packed.ts'
import { moduleOf } from './write-support.ts'

const filled = (rows: number, columns: number): Matrix =>
  matrix(
    rows,
    columns,
    Float64Array.from({ length: rows * columns }, (_, i) => Math.sin(i + 1)),
  )

const plain = moduleOf('model.o_proj.weight', [4, 3])

test.each(['f64', 'f32', 'f16', 'bf16'] as const)(
  'of %s have the bytes of the numbers themselves',
  (dtype) => {
    const modules = [plain, { ...plain, isTransposed: true }, { ...plain, experts: 3 }]
    for (const module of modules) {
      const factors = Array.from({ length: module.experts }, (_, e) => ({
        B: filled(4, 2 - (e % 2)),
        A: filled(2 - (e % 2), 3),
      }))
      const packed = factors.map((one) => packedFactors(module.tensor, one, dtype))
      for (const r of [2, 5]) {
        const { A, B } = encodeFactors(module, factors, r, dtype)
        expect(encodePacked(module, packed, r, dtype)).toEqual({ A, B })
        // what is unpacked is what was stored, so that it is stored again as it is
        const again = encodeFactors(module, packed.map(unpackedFactors), r, dtype)
        expect(again).toMatchObject({ A, B })
      }
    }
  },
)

test('experts without a direction are zeros, whatever type their nothing has', () => {
  const module = { ...plain, experts: 2 }
  const none = { B: filled(4, 0), A: filled(0, 3) }
  const some = packedFactors(module.tensor, { B: filled(4, 1), A: filled(1, 3) }, 'bf16')
  const { A, B } = encodePacked(module, [none, some], 1, 'bf16')
  expect([A.length, B.length]).toEqual([2 * 1 * 3 * 2, 4 * 2 * 2])
  expect([...A.subarray(0, 6)]).toEqual(Array(6).fill(0))
  expect(A.subarray(6).some((byte) => byte !== 0)).toBe(true)
})

test('what the dtype can’t hold is refused before it is rounded', () => {
  const factors = { B: fromRows([[70000], [1], [1], [1]]), A: fromRows([[1, 1, 1]]) }
  expect(() => packedFactors(plain.tensor, factors, 'f16')).toThrow(
    /its factor B has an entry of 7.00e\+4, too large for f16/,
  )
  const tiny = { B: fromRows([[1e-30], [0], [0], [0]]), A: fromRows([[1, 1, 1]]) }
  expect(() => packedFactors(plain.tensor, tiny, 'f16')).toThrow(/all are zero in f16/)
})
