import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeNumbers } from '../../src/formats/dtype.ts'
import { readGgufHeader } from '../../src/formats/gguf-header.ts'
import type { GgufArray, GgufScalar } from '../../src/formats/gguf-types.ts'
import { type GgufTensorToWrite, ggufChunks, layoutGguf } from '../../src/formats/gguf-writer.ts'
import { openTensors } from '../../src/formats/open.ts'
import { memorySource } from '../../src/io/source.ts'
import { errorOf } from './fixtures.ts'
import { readRaw } from './gguf-support.ts'

type Values = Readonly<Record<string, GgufScalar | GgufArray>>

async function written(tensors: readonly GgufTensorToWrite[], metadata: Values = {}) {
  const layout = layoutGguf(tensors, new Map(Object.entries(metadata)))
  const chunks: Uint8Array[] = []
  for await (const chunk of ggufChunks(layout)) chunks.push(chunk)
  const bytes = new Uint8Array(Buffer.concat(chunks))
  expect(bytes.length).toBe(layout.byteLength)
  return bytes
}

/** The keys of the plain adapter of llama.cpp's converter (goldens/ggufnames.json), with their types. */
const PLAIN: Values = {
  'general.architecture': { type: 'string', value: 'llama' },
  'general.type': { type: 'string', value: 'adapter' },
  'adapter.type': { type: 'string', value: 'lora' },
  'general.name': { type: 'string', value: 'L' },
  'adapter.lora.alpha': { type: 'f32', value: 4 },
  'general.quantization_version': { type: 'u32', value: 2 },
}

test('a small file, byte by byte', async () => {
  const bytes = await written(
    [
      { name: 'a', dtype: 'f32', shape: [2, 1], data: Float64Array.of(1, -2) },
      { name: 'b', dtype: 'f16', shape: [1], data: Float32Array.of(0.5) },
    ],
    {
      s: { type: 'string', value: 'é' },
      n: { type: 'f32', value: 1.5 },
      l: { type: 'array', of: 'u32', values: [7, 8] },
    },
  )
  const hex = Buffer.from(bytes).toString('hex')
  const expected = [
    '47475546 03000000 0200000000000000 0300000000000000',
    '0100000000000000 73 08000000 0200000000000000 c3a9',
    '0100000000000000 6e 06000000 0000c03f',
    '0100000000000000 6c 09000000 04000000 0200000000000000 07000000 08000000',
    '0100000000000000 61 02000000 0100000000000000 0200000000000000 00000000 0000000000000000',
    '0100000000000000 62 01000000 0100000000000000 01000000 2000000000000000',
  ]
    .join('')
    .replaceAll(' ', '')
  const header = expected.padEnd(2 * Math.ceil(expected.length / 64) * 32, '0')
  expect(hex).toBe(`${header}0000803f000000c0${'00'.repeat(24)}0038${'00'.repeat(30)}`)
})

test('the plain adapter of the converter: six keys of its types, offsets one after the other at multiples of 32', async () => {
  const name = 'blk.0.attn_q.weight'
  const bytes = await written(
    [
      { name: `${name}.lora_a`, dtype: 'f32', shape: [2, 16], data: new Float32Array(32) },
      { name: `${name}.lora_b`, dtype: 'f32', shape: [16, 2], data: new Float32Array(32) },
      { name: 'x', dtype: 'bf16', shape: [3], data: new Float32Array(3) },
    ],
    PLAIN,
  )
  const { magic, version, keys, infos, dataStart, length } = readRaw(bytes)
  expect([magic, version]).toEqual(['GGUF', 3])
  expect(keys).toEqual({
    'general.architecture': [8, 'llama'],
    'general.type': [8, 'adapter'],
    'adapter.type': [8, 'lora'],
    'general.name': [8, 'L'],
    'adapter.lora.alpha': [6, 4],
    'general.quantization_version': [4, 2],
  })
  expect(infos).toEqual([
    { name: `${name}.lora_a`, dims: [16, 2], type: 0, offset: 0 },
    { name: `${name}.lora_b`, dims: [2, 16], type: 0, offset: 128 },
    { name: 'x', dims: [3], type: 30, offset: 256 },
  ])
  expect(length).toBe(dataStart + 288)
})

describe('what is written is read again', () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 12 })
  const scalar: fc.Arbitrary<GgufScalar> = fc.oneof(
    fc.record({ type: fc.constant('u8' as const), value: fc.integer({ min: 0, max: 255 }) }),
    fc.record({ type: fc.constant('i8' as const), value: fc.integer({ min: -128, max: 127 }) }),
    fc.record({ type: fc.constant('u16' as const), value: fc.integer({ min: 0, max: 65535 }) }),
    fc.record({ type: fc.constant('i16' as const), value: fc.integer({ min: -32768, max: 32767 }) }),
    fc.record({ type: fc.constant('u32' as const), value: fc.integer({ min: 0, max: 2 ** 32 - 1 }) }),
    fc.record({ type: fc.constant('i32' as const), value: fc.integer() }),
    fc.record({ type: fc.constant('f32' as const), value: fc.float() }),
    fc.record({ type: fc.constant('f64' as const), value: fc.double() }),
    fc.record({ type: fc.constant('u64' as const), value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) }),
    fc.record({
      type: fc.constant('i64' as const),
      value: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    }),
    fc.record({ type: fc.constant('bool' as const), value: fc.boolean() }),
    fc.record({ type: fc.constant('string' as const), value: text }),
  )
  const array: fc.Arbitrary<GgufArray> = fc.array(scalar, { maxLength: 4 }).chain((some) =>
    fc.constantFrom(...(some.length === 0 ? ([{ type: 'u8' }] as const) : some)).map((one) => ({
      type: 'array' as const,
      of: one.type,
      values: some.flatMap((other) => (other.type === one.type ? [other.value] : [])),
    })),
  )
  const tensor = fc
    .record({
      dtype: fc.constantFrom('f32' as const, 'f16' as const, 'bf16' as const),
      shape: fc.array(fc.nat(4), { maxLength: 4 }),
    })
    .chain(({ dtype, shape }) => {
      const count = shape.reduce((product, n) => product * n, 1)
      // small whole numbers are the same in all three
      const numbers = fc.array(fc.integer({ min: -255, max: 255 }), { minLength: count, maxLength: count })
      return numbers.map((data) => ({ dtype, shape, data: Float64Array.from(data) }))
    })

  test('metadata of every type, tensors of every shape', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.tuple(text, fc.oneof(scalar, array)), {
          selector: ([key]) => key,
          maxLength: 6,
        }),
        fc.uniqueArray(fc.tuple(text, tensor), { selector: ([name]) => name, maxLength: 5 }),
        async (keys, tensors) => {
          const metadata = new Map(keys)
          const layout = layoutGguf(
            tensors.map(([name, one]) => ({ name, ...one })),
            metadata,
          )
          const chunks: Uint8Array[] = []
          for await (const chunk of ggufChunks(layout)) chunks.push(chunk)
          const source = memorySource('x', new Uint8Array(Buffer.concat(chunks)))
          const header = await readGgufHeader(source)
          expect(header.metadata).toEqual(metadata)
          const set = await openTensors(source)
          expect(set.names).toEqual(tensors.map(([name]) => name))
          for (const [name, { dtype, shape, data }] of tensors) {
            const info = set.tensors.get(name)!
            expect(info).toMatchObject({ shape, dtype: dtype.toUpperCase() })
            const found = decodeNumbers(await set.read(name, 0, info.bytes), dtype)
            expect(Array.from(found)).toEqual(Array.from(data))
          }
        },
      ),
      { numRuns: 150 },
    )
  })

  test('one tensor at a time, in the order given', async () => {
    const asked: string[] = []
    const lazy = (name: string): GgufTensorToWrite => ({
      name,
      dtype: 'f32',
      shape: [1],
      data: () => {
        asked.push(name)
        return Float32Array.of(1)
      },
    })
    const layout = layoutGguf([lazy('b'), lazy('a')], new Map())
    expect(asked).toEqual([])
    const chunks = ggufChunks(layout)
    await chunks.next()
    await chunks.next()
    expect(asked).toEqual(['b'])
    await chunks.next()
    await chunks.next()
    expect(asked).toEqual(['b', 'a'])
  })
})

describe('what llama.cpp would refuse is not written', () => {
  const one: GgufTensorToWrite = { name: 'a', dtype: 'f32', shape: [1], data: new Float32Array(1) }
  test.each<[string, readonly GgufTensorToWrite[], string]>([
    ['a name twice', [one, one], `can't write two tensors named "a"`],
    [
      'a name of 64 bytes',
      [{ ...one, name: 'é'.repeat(32) }],
      'is longer than the 63 bytes that GGUF allows',
    ],
    ['five dimensions', [{ ...one, shape: [1, 1, 1, 1, 1] }], `the shape [1, 1, 1, 1, 1] can't be written`],
    ['half a surrogate pair', [{ ...one, name: '\ud800' }], 'holds half a surrogate pair'],
  ])('%s', async (_, tensors, says) => {
    const error = await errorOf(async () => layoutGguf(tensors, new Map()))
    expect(error.code).toBe('bad-input')
    expect(error.message).toContain(says)
  })

  test('a name of 63 bytes is', async () => {
    expect((await written([{ ...one, name: 'x'.repeat(63) }])).length).toBeGreaterThan(63)
  })

  test.each<[string, GgufScalar | GgufArray]>([
    ['-1 as u32', { type: 'u32', value: -1 }],
    ['2^32 as u32', { type: 'u32', value: 2 ** 32 }],
    ['1.5 as i32', { type: 'i32', value: 1.5 }],
    ['128 as i8', { type: 'i8', value: 128 }],
    ['2^64 as u64', { type: 'u64', value: 2n ** 64n }],
    ['a string as f32', { type: 'array', of: 'f32', values: ['1'] }],
    ['a number as string', { type: 'array', of: 'string', values: [1] }],
    ['a number as bool', { type: 'array', of: 'bool', values: [1] }],
  ])('%s', (_, value) => {
    expect(() => layoutGguf([], new Map([['k', value]]))).toThrow(RangeError)
  })

  test('an alignment of its own, data of another length, and data longer than its shape', async () => {
    expect(() => layoutGguf([], new Map([['general.alignment', { type: 'u32', value: 64 }]]))).toThrow(
      RangeError,
    )
    await expect(written([{ ...one, data: new Float32Array(2) }])).rejects.toThrow(RangeError)
    await expect(written([{ ...one, data: new Uint8Array(3) }])).rejects.toThrow(RangeError)
  })
})
