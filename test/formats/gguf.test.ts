import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeNumbers } from '../../src/formats/dtype.ts'
import { BLOCK_SIZES, type BlockDtype, decodeBlocks } from '../../src/formats/gguf-blocks.ts'
import { readGgufHeader } from '../../src/formats/gguf-header.ts'
import { KEPT_ELEMENTS } from '../../src/formats/gguf-values.ts'
import { openTensors } from '../../src/formats/open.ts'
import { bitsPerElement, storedDtypeOf } from '../../src/formats/safetensors-dtype.ts'
import { type ByteSource, memorySource } from '../../src/io/source.ts'
import { errorOf } from './fixtures.ts'
import { ggufBytes, ggufFixture, type RawFile, type RawKey, raw, rawGguf } from './gguf-support.ts'

interface Expected {
  readonly metadata: Record<string, [type: string | ['array', string], value: unknown]>
  readonly tensors: Record<string, { dtype: string; shape: number[]; values: string }>
}
const expected: Expected = JSON.parse(readFileSync(ggufFixture('expected.json'), 'utf8'))
const FILE = 'm.gguf'
const source = (bytes: Uint8Array) => memorySource(FILE, bytes)
const open = (name: string) => openTensors(memorySource(name, ggufBytes(name)))

/** The float32, of F64 float64, numbers as the script has them. */
function valuesOf({ dtype, values }: Expected['tensors'][string]) {
  const bytes = new Uint8Array(Buffer.from(values, 'hex'))
  return decodeNumbers(bytes, dtype === 'F64' ? 'f64' : 'f32')
}

describe('a file of every kind', () => {
  test('its metadata, each value under its type', async () => {
    const { version, alignment, metadata } = await readGgufHeader(source(ggufBytes('every.gguf')))
    expect([version, alignment]).toEqual([3, 32])
    expect([...metadata.keys()]).toEqual(Object.keys(expected.metadata))
    for (const [key, found] of metadata) {
      const [type, value] = expected.metadata[key]
      if (found.type === 'array') {
        expect(['array', found.of]).toEqual(type)
        expect('count' in found ? found.count : found.values).toEqual(value)
        continue
      }
      expect(found.type).toBe(type)
      const isLarge = typeof found.value === 'bigint'
      expect(isLarge ? String(found.value) : found.value).toEqual(value)
    }
  })

  test('its tensors: names in order, shapes by rows, types', async () => {
    const set = await open('every.gguf')
    expect(set.format).toBe('gguf')
    expect(set.names).toEqual(Object.keys(expected.tensors))
    for (const [name, { dtype, shape }] of Object.entries(expected.tensors)) {
      expect(set.tensors.get(name)).toMatchObject({ dtype, shape })
    }
    expect(set.refused.size).toBe(0)
    expect(set.metadata.get('general.name')).toBe('ünï – 名')
    expect(set.metadata.get('a.f32')).toBe('3.5')
    expect(set.metadata.has('tokenizer.ggml.tokens')).toBe(false)
  })

  test.each(Object.entries(expected.tensors))('the numbers of %s, bit for bit', async (name, tensor) => {
    const set = await open('every.gguf')
    const { dtype, bytes } = set.tensors.get(name)!
    const found = decodeNumbers(await set.read(name, 0, bytes), storedDtypeOf(dtype))
    if (dtype === 'I32') expect(Array.from(found)).toEqual(Array.from(valuesOf(tensor)))
    else expect(new Uint8Array(found.buffer, found.byteOffset, found.byteLength)).toEqual(rawBytes(tensor))
  })

  const rawBytes = ({ values }: Expected['tensors'][string]) => new Uint8Array(Buffer.from(values, 'hex'))

  test.each(Object.entries(expected.tensors).filter(([, { shape }]) => shape.length > 1))(
    'a row of %s is read without the others',
    async (name, tensor) => {
      const set = await open('every.gguf')
      const { dtype, shape } = set.tensors.get(name)!
      const columns = shape.at(-1)!
      const rowBytes = (columns * bitsPerElement(dtype)) / 8
      expect(Number.isInteger(rowBytes)).toBe(true)
      const row = decodeNumbers(await set.read(name, rowBytes, 2 * rowBytes), storedDtypeOf(dtype))
      expect(Array.from(row)).toEqual(Array.from(valuesOf(tensor).subarray(columns, 2 * columns)))
    },
  )

  test('version 2, aligned to 64', async () => {
    const { version, alignment, tensors } = await readGgufHeader(source(ggufBytes('version-2.gguf')))
    expect([version, alignment]).toEqual([2, 64])
    for (const { begin } of tensors.values()) expect(begin % 64).toBe(0)
    const set = await open('version-2.gguf')
    const name = 'blk.0.ffn_up.weight'
    const found = decodeNumbers(await set.read(name, 0, 30), 'f16')
    expect(Array.from(found)).toEqual(Array.from(valuesOf(expected.tensors[name])))
  })

  test('a type that is not read keeps its name and its bytes', async () => {
    const set = await open('unread.gguf')
    expect([...set.tensors.keys()]).toEqual(['blk.0.ffn_up.weight', 'blk.0.ffn_down.weight'])
    const { dtype, bytes } = set.tensors.get('blk.0.ffn_down.weight')!
    expect([dtype, bytes]).toEqual(['Q5_K', 176])
    expect(set.refused.size).toBe(0)
  })
})

describe('blocks', () => {
  /** The bytes of a float16 of this handful. */
  const half = (x: 1 | 0.5 | -2) => ({ 1: [0, 0x3c], 0.5: [0, 0x38], [-2]: [0, 0xc0] })[x]!

  test('q8_0: signed bytes times the scale', () => {
    const block = [...half(0.5), ...Array.from({ length: 32 }, (_, i) => (i * 8 + 128) & 255)]
    const expected = Array.from({ length: 32 }, (_, i) => 0.5 * (i * 8 - 128))
    expect(Array.from(decodeBlocks(Uint8Array.from(block), 'q8_0'))).toEqual(expected)
  })

  test('q4_0: the first half in the low four bits, the second in the high ones', () => {
    const block = [...half(-2), ...Array.from({ length: 16 }, (_, i) => i | ((15 - i) << 4))]
    const expected = [...Array(16).keys()].map((i) => -2 * (i - 8))
    expect(Array.from(decodeBlocks(Uint8Array.from(block), 'q4_0'))).toEqual([
      ...expected,
      ...[...expected].reverse(),
    ])
  })

  test('q4_k: scales and minima of six bits from three rows of four bytes', () => {
    const scales = [1, 2, 3, 63, 5, 22, 39, 56]
    const minima = [9, 0, 63, 4, 33, 17, 62, 31]
    const rows = [
      ...[0, 1, 2, 3].map((i) => scales[i] | ((scales[i + 4] >> 4) << 6)),
      ...[0, 1, 2, 3].map((i) => minima[i] | ((minima[i + 4] >> 4) << 6)),
      ...[4, 5, 6, 7].map((i) => (scales[i] & 15) | ((minima[i] & 15) << 4)),
    ]
    const quants = Array.from({ length: 128 }, (_, i) => (i % 16) | (((i + 7) % 16) << 4))
    const found = decodeBlocks(Uint8Array.from([...half(0.5), ...half(1), ...rows, ...quants]), 'q4_k')
    const wanted = Array.from({ length: 256 }, (_, i) => {
      const group = Math.floor(i / 32)
      const byte = quants[32 * Math.floor(i / 64) + (i % 32)]
      const q = group % 2 === 0 ? byte & 15 : byte >> 4
      return 0.5 * scales[group] * q - minima[group]
    })
    expect(Array.from(found)).toEqual(wanted)
  })

  test('q6_k: packed as ggml packs them, and unpacked', () => {
    // quantize_row_q6_K of ggml-quants.c puts four rows of 32 above each other
    const q = Array.from({ length: 256 }, (_, i) => (i * 37) % 64)
    const [low, high] = [new Uint8Array(128), new Uint8Array(64)]
    for (let n = 0; n < 2; n++) {
      for (let l = 0; l < 32; l++) {
        const [q1, q2, q3, q4] = [0, 32, 64, 96].map((row) => q[128 * n + l + row])
        low[64 * n + l] = (q1 & 15) | ((q3 & 15) << 4)
        low[64 * n + l + 32] = (q2 & 15) | ((q4 & 15) << 4)
        high[32 * n + l] = (q1 >> 4) | ((q2 >> 4) << 2) | ((q3 >> 4) << 4) | ((q4 >> 4) << 6)
      }
    }
    const scales = Array.from({ length: 16 }, (_, i) => 7 * i - 50)
    const bytes = Uint8Array.from([...low, ...high, ...scales.map((s) => s & 255), ...half(0.5)])
    expect(Array.from(decodeBlocks(bytes, 'q6_k'))).toEqual(
      q.map((one, i) => 0.5 * scales[Math.floor(i / 16)] * (one - 32)),
    )
  })

  test.each(Object.keys(BLOCK_SIZES) as BlockDtype[])('a part of a block of %s is refused', (dtype) => {
    expect(() => decodeBlocks(new Uint8Array(BLOCK_SIZES[dtype].bytes + 1), dtype)).toThrow(RangeError)
    expect(decodeBlocks(new Uint8Array(0), dtype)).toHaveLength(0)
  })
})

const f32 = (count: number) => Buffer.alloc(4 * count)
const padTo32 = Buffer.alloc(32)
const huge = 2n ** 63n

describe('hostile files', () => {
  const alignment = (type: number, value: number): RawKey[] => [['general.alignment', type, raw.u32(value)]]
  test.each<[what: string, file: RawFile, says: string]>([
    ['version 1', { version: 1 }, 'is GGUF of version 1; 2 and 3 are read: convert the model anew'],
    ['version 4', { version: 4 }, 'is GGUF of version 4; 2 and 3 are read'],
    ['the other order of bytes', { version: 0x03000000 }, 'has its numbers in big-endian order; convert'],
    [
      'more tensors than there is room for',
      { tensorCount: 2n ** 40n },
      'announces 1099511627776 tensors; its 32 bytes have room for 1 at most: it is cut off or damaged; fetch it again',
    ],
    ['2^64 − 1 tensors', { tensorCount: 2n ** 64n - 1n }, 'announces more than 2^53 tensors'],
    ['more keys than there is room for', { keyCount: 3 }, 'announces 3 keys; its 32 bytes have room for 2'],
    ['2^63 keys', { keyCount: huge }, 'announces more than 2^53 keys'],
    [
      'a key of 2^63 letters',
      { keyCount: 1, alignment: 1, data: Buffer.concat([raw.u64(huge), padTo32]) },
      'asks for more bytes than any file has at byte',
    ],
    [
      'a key twice',
      {
        keys: [
          ['a', 0, Buffer.of(1)],
          ['a', 0, Buffer.of(1)],
        ],
      },
      'has the key "a" twice',
    ],
    [
      'a key that is no text',
      { keys: [[Buffer.of(0xff), 0, Buffer.of(1)]] },
      'the name of key 1 at byte 24 is not UTF-8',
    ],
    [
      'a type past the last',
      { keys: [['a', 13, Buffer.of(1)]] },
      'the key "a" has the type 13, which is none of GGUF',
    ],
    [
      'a type of an array',
      { keys: [['a', 9, Buffer.concat([raw.u32(99), raw.u64(0)])]] },
      'the key "a" has the type 99',
    ],
    [
      'an array of arrays',
      { keys: [['a', 9, Buffer.concat([raw.u32(9), raw.u64(0)])]] },
      'an array of arrays under "a"',
    ],
    [
      'an array of 2^63',
      { keys: [['a', 9, Buffer.concat([raw.u32(4), raw.u64(huge)])]] },
      'asks for more bytes than any',
    ],
    [
      '2^40 strings',
      { keys: [['a', 9, Buffer.concat([raw.u32(8), raw.u64(2n ** 40n)])]] },
      'asks for 8 bytes at byte',
    ],
    ['a string of 2^63', { keys: [['a', 8, raw.u64(huge)]] }, 'asks for more bytes than any file has'],
    ['alignment as i32', { keys: alignment(5, 32) }, 'has "general.alignment" of the type i32, expected u32'],
    ['alignment 0', { keys: alignment(4, 0) }, 'has "general.alignment" 0, which is no power of two'],
    ['alignment 48', { keys: alignment(4, 48) }, 'has "general.alignment" 48, which is no power of two'],
    [
      'a name twice',
      { tensors: [{ name: 'a' }, { name: 'a', offset: 32 }], data: f32(16) },
      'lists two tensors named "a"',
    ],
    [
      'a name that is no text',
      { tensors: [{ name: Buffer.of(0xc0) }] },
      'the name of tensor 1 at byte 24 is not UTF-8',
    ],
    [
      'five dimensions',
      { tensors: [{ name: 'a', dims: [1, 1, 1, 1, 1] }] },
      'tensor "a" has 5 dimensions, GGUF at most 4',
    ],
    [
      '2^32 − 1 dimensions',
      { tensorCount: 1, alignment: 1, data: Buffer.concat([raw.text('a'), raw.u32(2 ** 32 - 1), padTo32]) },
      'has 4294967295 dimensions',
    ],
    [
      'a removed type',
      { tensors: [{ name: 'a', type: 31 }] },
      'has tensor "a" of the type 31, which is none of ggml',
    ],
    ['an unknown type', { tensors: [{ name: 'a', type: 2 ** 32 - 1 }] }, 'of the type 4294967295'],
    [
      'a part of a block',
      { tensors: [{ name: 'a', type: 8, dims: [33, 2] }] },
      'has rows of 33 numbers, and Q8_0 comes in blocks of 32',
    ],
    [
      '2^63 numbers',
      { tensors: [{ name: 'a', dims: [huge] }] },
      'has the shape [9223372036854776000], more than a file can hold',
    ],
    [
      'a product past 2^64',
      { tensors: [{ name: 'a', dims: [2 ** 40, 2 ** 40] }] },
      'more than a file can hold',
    ],
    [
      'a hole',
      { tensors: [{ name: 'a' }, { name: 'b', offset: 64 }], data: f32(64) },
      'puts tensor "b" at byte 64 of the data, expected 32 (a hole), which llama.cpp refuses too; convert it anew',
    ],
    [
      'the first too late',
      { tensors: [{ name: 'a', offset: 32 }], data: f32(64) },
      'at byte 32 of the data, expected 0 (a hole)',
    ],
    [
      'an overlap',
      { tensors: [{ name: 'a' }, { name: 'b', offset: 16 }], data: f32(64) },
      'at byte 16 of the data, expected 32 (an overlap)',
    ],
    [
      'an offset of 2^64 − 1',
      { tensors: [{ name: 'a', offset: 2n ** 64n - 1n }], data: f32(64) },
      'expected 0 (a hole)',
    ],
    [
      'data cut off',
      { tensors: [{ name: 'a' }], data: f32(3) },
      'and the data of tensor "a" at byte 80: it is cut off; fetch it again',
    ],
  ])('%s', async (_, file, says) => {
    const error = await errorOf(() => openTensors(source(rawGguf(file))))
    expect(error).toMatchObject({ code: 'bad-input', file: FILE })
    expect(error.message).toContain(says)
    expect(error.message.startsWith(`${FILE}: `)).toBe(true)
    expect(error.message).not.toContain('\n')
  })

  test('cut at every byte: an error of one line, never anything else', async () => {
    const whole = rawGguf({
      keys: [
        ['general.architecture', ...raw.string('llama')],
        ['words', 9, Buffer.concat([raw.u32(8), raw.u64(2), raw.text('ab'), raw.text('c')])],
        ['n', 12, Buffer.alloc(8)],
      ],
      tensors: [
        { name: 'blk.0.x.weight', dims: [3, 2] },
        { name: 'y', type: 8, dims: [32], offset: 32 },
      ],
      data: Buffer.concat([f32(6), Buffer.alloc(8), Buffer.alloc(34)]),
    })
    await openTensors(source(whole))
    for (let length = 4; length < whole.length; length++) {
      const error = await errorOf(() => openTensors(source(whole.subarray(0, length))))
      expect(error.code).toBe('bad-input')
      expect(error.message).toMatch(/^m\.gguf: the file (has|ends|announces) .* (fetch it again)$/)
    }
  })

  test('every byte of a header changed: read, or refused in one line', async () => {
    const whole = ggufBytes('version-2.gguf')
    await fc.assert(
      fc.asyncProperty(fc.nat(319), fc.nat(255), async (place, byte) => {
        const changed = whole.slice()
        changed[place] = byte
        try {
          await openTensors(source(changed))
        } catch (error) {
          expect(error).toMatchObject({ code: 'bad-input' })
        }
      }),
      { numRuns: 300 },
    )
  })

  test('padding after the last tensor may lack, and more may follow', async () => {
    const file = { tensors: [{ name: 'a' }] }
    for (const data of [f32(4), f32(8), Buffer.concat([f32(8), padTo32, padTo32])]) {
      expect((await openTensors(source(rawGguf({ ...file, data })))).tensors.get('a')?.bytes).toBe(16)
    }
  })

  test('no tensors, scalars, and tensors without entries', async () => {
    expect((await openTensors(source(rawGguf({})))).names).toEqual([])
    const tensors = [
      { name: 'a', dims: [] },
      { name: 'b', dims: [0, 3], offset: 32 },
      { name: 'c', offset: 32 },
    ]
    const set = await openTensors(source(rawGguf({ tensors, data: f32(16) })))
    expect([...set.tensors.values()].map(({ shape, bytes }) => [shape, bytes])).toEqual([
      [[], 4],
      [[3, 0], 0],
      [[4], 16],
    ])
  })

  test('a header is read in growing pieces, and no further', async () => {
    const words = Buffer.concat(Array.from({ length: 90_000 }, () => raw.text('four-teen-char')))
    const keys: RawKey[] = [
      ['tokens', 9, Buffer.concat([raw.u32(8), raw.u64(90_000), words])],
      ['general.architecture', ...raw.string('x')],
    ]
    const bytes = rawGguf({ keys, tensors: [{ name: 'a', dims: [2 ** 22] }], data: f32(2 ** 22) })
    const asked: number[] = []
    const counting: ByteSource = {
      ...source(bytes),
      read: async (start, end) => {
        asked.push(end)
        return bytes.subarray(start, end)
      },
    }
    const { metadata, tensors } = await readGgufHeader(counting)
    expect(asked).toEqual([2 ** 20, 2 ** 22])
    expect(metadata.get('tokens')).toEqual({ type: 'array', of: 'string', count: 90_000 })
    expect(90_000).toBeGreaterThan(KEPT_ELEMENTS)
    expect(tensors.get('a')?.shape).toEqual([2 ** 22])
  })
})
