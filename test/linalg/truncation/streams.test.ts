import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { narrowHalf, widened } from '../../../src/linalg/matrix/half.ts'
import { type HalfMatrix, type Matrix, matrix, toFloat32 } from '../../../src/linalg/matrix/matrix.ts'
import {
  keyedWords,
  normalColumns,
  sha256,
  streamKeys,
  uniformColumns,
} from '../../../src/linalg/truncation/streams.ts'
import { gaussian } from './support.ts'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
const keyOf = (A: Matrix | HalfMatrix, seed: bigint | number = 0, name = 'w', purpose = 'start') =>
  hex(streamKeys(A, seed, name).independent(purpose))

test('the stream of a key is that of the standards: FIPS 180-4 and SP 800-38A', () => {
  expect(hex(sha256([new TextEncoder().encode('abc')]))).toBe(
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
  )
  expect(hex(sha256([Uint8Array.of(97), Uint8Array.of(98, 99)]))).toBe(
    hex(sha256([Uint8Array.of(97, 98, 99)])),
  )
  // AES-256 of a zero block under a zero key is dc95c078a2408989ad48a21492842087 (CAVP, VarTxt256 family)
  const words = keyedWords(new Uint8Array(32))
  expect([...words(3), ...words(0), ...words(1)]).toEqual([0x78c095dc, 0x898940a2, 0x14a248ad, 0x87208492])
})

test('the key is a digest of shape, type and every entry, and of seed, name and purpose', () => {
  const A = gaussian(150, 140, 1)
  const key = keyOf(A)
  expect(key).toHaveLength(64)
  expect(keyOf({ ...A, data: A.data.slice() })).toBe(key)
  for (const at of [0, 1, 9999, 16383, 16384, A.data.length - 1]) {
    const data = A.data.slice()
    data[at] *= 1 + 2 ** -52
    expect(keyOf({ ...A, data })).not.toBe(key)
  }
  const others = [
    keyOf(matrix(140, 150, A.data)),
    keyOf(toFloat32(A)),
    keyOf(A, 1),
    keyOf(A, 2n ** 32n),
    keyOf(A, 0, 'v'),
    keyOf(A, 0, 'w', 'probe/0'),
    keyOf(A, 0, 'w","start'),
  ]
  expect(new Set([key, ...others]).size).toBe(1 + others.length)
})

test('numbers that may be known need no look at the entries', () => {
  const unread = { rows: 1, columns: 1, data: undefined as unknown as Float64Array }
  const known = (seed: number, name: string, purpose: string) =>
    hex(streamKeys(unread, seed, name).known(purpose))
  const keys = [known(0, '', 'start'), known(1, '', 'start'), known(0, 'a', 'start'), known(0, '', 'precise')]
  expect(new Set(keys).size).toBe(keys.length)
  expect(known(0, '', 'start')).toBe(keys[0])
})

test('its layout is fixed: another program finds the same', () => {
  const A = matrix(1, 2, Float64Array.of(3, -1))
  const header = Buffer.alloc(16)
  header.writeDoubleLE(1, 0)
  header.writeUInt32LE(2, 8)
  header.writeUInt32LE(64, 12)
  const entries = Buffer.alloc(16)
  entries.writeDoubleLE(0.75, 0)
  entries.writeDoubleLE(-0.25, 8)
  const digest = createHash('sha256').update(header).update(entries).digest()
  const key = createHash('sha256').update('["7","w","start"]').update(digest).digest('hex')
  expect(keyOf(A, 7n)).toBe(key)
})

test('halves count by their values, zeros without their sign, a common power of two not at all', () => {
  const values = toFloat32(gaussian(60, 50, 3)).data.map((x, i) => (i % 7 === 0 ? 0 : x))
  for (const dtype of ['bf16', 'f16'] as const) {
    const half: HalfMatrix = { rows: 60, columns: 50, dtype, data: narrowHalf(values, dtype) }
    expect(keyOf(half)).toBe(keyOf(widened(half)))
  }
  const A = matrix(60, 50, values)
  const key = keyOf(A)
  expect(keyOf({ ...A, data: values.map((x) => (x === 0 ? -0 : x)) })).toBe(key)
  for (const e of [1, -100, 120]) expect(keyOf({ ...A, data: values.map((x) => x * 2 ** e) })).toBe(key)
  const wide = Float64Array.from(values)
  for (const e of [900, -900]) {
    expect(
      keyOf(
        matrix(
          60,
          50,
          wide.map((x) => x * 2 ** e),
        ),
      ),
    ).toBe(keyOf(matrix(60, 50, wide)))
  }
  // 2^1074, which makes the least number 1, is none itself
  expect(keyOf(matrix(1, 2, Float64Array.of(5e-324, 1e-323)))).toBe(
    keyOf(matrix(1, 2, Float64Array.of(1, 2))),
  )
})

test('the draws have the moments of their distributions, and the same bits each time', () => {
  const key = streamKeys(gaussian(3, 3, 1), 0, '').known('test')
  const count = 100_000
  const moments = (draw: (columns: number) => Matrix) => {
    const data = Float64Array.from(draw(1).data)
    const mean = (power: number) => data.reduce((sum, x) => sum + x ** power, 0) / count
    return [1, 2, 3, 4].map(mean)
  }
  // four standard deviations of each mean
  const near = (values: number[], truth: number[], variances: number[]) =>
    values.forEach((value, i) => {
      expect(Math.abs(value - truth[i])).toBeLessThan(4 * Math.sqrt(variances[i] / count))
    })
  near(moments(normalColumns(count, 'f64', key)), [0, 1, 0, 3], [1, 2, 15, 96])
  near(moments(uniformColumns(count, 'f64', key)), [0, 1 / 3, 0, 1 / 5], [1 / 3, 4 / 45, 1 / 7, 16 / 225])
  const [first, second] = [normalColumns(5, 'f64', key), normalColumns(5, 'f64', key)]
  expect(first(3)).toEqual(second(3))
  expect(first(1)).not.toEqual(first(1))
})
