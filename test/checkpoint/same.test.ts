import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { sameNumbers } from '../../src/checkpoint/models.ts'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { fixture, folderOf, safetensors, type TensorSpec } from './support.ts'

async function tensorOf(spec: TensorSpec) {
  const file = join(folderOf({ 'x.safetensors': await safetensors({ x: spec }) }), 'x.safetensors')
  return (await openCheckpoint(file)).tensors.get('x')!
}

const int64 = (...numbers: bigint[]) => new Uint8Array(BigInt64Array.from(numbers).buffer)
const values = Float32Array.of(1, -2, 0.5, Number.NaN, 3, 448)

describe('the same numbers', () => {
  test.each([
    ['equal bytes', ['BF16', [2, 3], values], ['BF16', [2, 3], values], true],
    ['the last differs', ['F32', [2], Float32Array.of(1, 2)], ['F32', [2], Float32Array.of(1, 3)], false],
    ['another shape', ['F32', [2, 3], values], ['F32', [3, 2], values], false],
    ['more dimensions', ['F32', [6], values], ['F32', [6, 1], values], false],
    ['widened', ['BF16', [2, 3], values], ['F32', [2, 3], values], true],
    ['widened to float64', ['F16', [2, 3], values], ['F64', [2, 3], values], true],
    [
      'rounded on the way',
      ['BF16', [1], Float32Array.of(1.001)],
      ['F32', [1], Float32Array.of(1.001)],
      false,
    ],
    ['of 8 bits', ['F8_E4M3', [2], Uint8Array.of(0x38, 0x7e)], ['F16', [2], Float32Array.of(1, 448)], true],
    ['−0 by bytes', ['F32', [1], Float32Array.of(-0)], ['F32', [1], Float32Array.of(0)], false],
    ['−0 by numbers', ['F32', [1], Float32Array.of(-0)], ['F64', [1], Float64Array.of(0)], true],
    ['integers, equal', ['I64', [2]], ['I64', [2]], true],
    ['integers of two kinds', ['I64', [2]], ['I32', [2]], true],
    [
      'integers and floats',
      ['I64', [1, 3], int64(0n, 1n, 2n)],
      ['F32', [1, 3], Float32Array.of(0, 1, 2)],
      true,
    ],
    ['of which one differs', ['I64', [2], int64(0n, 1n)], ['F32', [2], Float32Array.of(0, 2)], false],
    [
      'integers past 2^53 and floats',
      ['I64', [1], int64(2n ** 53n + 1n)],
      ['F64', [1], Float64Array.of(2 ** 53)],
      false,
    ],
    ['a 1 × 1 kernel and a matrix', ['F32', [2, 3, 1, 1], values], ['F32', [2, 3], values], true],
    ['a 1 × 1 kernel of another shape', ['F32', [3, 2, 1, 1], values], ['F32', [2, 3], values], false],
    ['half bytes', ['F4', [2, 2], Uint8Array.of(1, 2)], ['F4', [2, 2], Uint8Array.of(1, 2)], true],
    [
      'half bytes that differ',
      ['F4', [2, 2], Uint8Array.of(1, 2)],
      ['F4', [2, 2], Uint8Array.of(1, 3)],
      false,
    ],
    ['a scalar', ['F32', [], Float32Array.of(2)], ['F32', [], Float32Array.of(2)], true],
    ['nothing', ['F32', [0, 4]], ['F32', [0, 4]], true],
  ] as readonly (readonly [string, TensorSpec, TensorSpec, boolean])[])('%s', async (_, a, b, expected) => {
    const [x, y] = [await tensorOf(a), await tensorOf(b)]
    expect(await sameNumbers(x, y)).toBe(expected)
    expect(await sameNumbers(y, x)).toBe(expected)
  })

  test('of more than is compared at a time, differing at the end alone', async () => {
    const count = 2 ** 21 + 5
    const [zeros, last] = [new Uint8Array(count), new Uint8Array(count)]
    last[count - 1] = 1
    const [a, b, c] = [
      await tensorOf(['U8', [count], zeros]),
      await tensorOf(['U8', [count], last]),
      await tensorOf(['U8', [count], zeros.slice()]),
    ]
    expect(await sameNumbers(a, b)).toBe(false)
    expect(await sameNumbers(a, c)).toBe(true)
    const [narrow, wide] = [await tensorOf(['F8_E5M2', [count], last]), await tensorOf(['BF16', [count]])]
    expect(await sameNumbers(narrow, wide)).toBe(false)
  })

  test('of arrays of NumPy, and of standard input', async () => {
    const [c, fortran] = await Promise.all(
      ['dense.npy', 'fortran.npy'].map(async (name) => {
        const { tensors } = await openCheckpoint(fixture(`formats/${name}`))
        return [...tensors.values()][0]
      }),
    )
    expect(fortran.source.kind).toBe('file')
    expect(await sameNumbers(fortran, fortran)).toBe(true)
    expect(await sameNumbers(c, c)).toBe(true)
    const piped = await openCheckpoint('-', { stdin: [Buffer.from('1 2\n')] as never })
    const [matrix] = piped.tensors.values()
    expect(await sameNumbers(matrix, await tensorOf(['F32', [1, 2], Float32Array.of(1, 2)]))).toBe(true)
    expect(await sameNumbers(matrix, await tensorOf(['F32', [1, 2], Float32Array.of(1, 3)]))).toBe(false)
    expect(await sameNumbers(matrix, await tensorOf(['I32', [1, 2]]))).toBe(false)
  })
})
