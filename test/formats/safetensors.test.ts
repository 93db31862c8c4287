import { describe, expect, test } from 'vitest'
import { badInput } from '../../src/errors.ts'
import { onlyMatrix, readStoredTensor, readTensor, readTensorBytes } from '../../src/formats/safetensors.ts'
import type { SafetensorsDtype } from '../../src/formats/safetensors-dtype.ts'
import { readSafetensorsHeader } from '../../src/formats/safetensors-header.ts'
import {
  layoutSafetensors,
  safetensorsChunks,
  type TensorToWrite,
} from '../../src/formats/safetensors-writer.ts'
import { type ByteSource, memorySource } from '../../src/io/source.ts'
import { errorOf, fixtureBytes, peers } from './fixtures.ts'

const FILE = 'w.safetensors'

function withHeader(header: string | Uint8Array, dataLength: number): ByteSource {
  const text = typeof header === 'string' ? new TextEncoder().encode(header) : header
  const bytes = new Uint8Array(8 + text.length + dataLength)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true)
  bytes.set(text, 8)
  return memorySource(FILE, bytes)
}

async function written(tensors: readonly TensorToWrite[], metadata?: Record<string, string>) {
  const layout = layoutSafetensors(tensors, metadata)
  const chunks: Uint8Array[] = []
  for await (const chunk of safetensorsChunks(layout)) chunks.push(chunk)
  const bytes = new Uint8Array(Buffer.concat(chunks))
  expect(bytes.length).toBe(layout.byteLength)
  return bytes
}

const fromHex = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'))
const tensor = (name: string, dtype: SafetensorsDtype, shape: number[], data: TensorToWrite['data']) => ({
  name,
  dtype,
  shape,
  data,
})

describe('the header', () => {
  test.each(peers.headers)(
    'as the reference reader judges: $header',
    async ({ header, dataLength, reference }) => {
      const source = withHeader(header, dataLength)
      if (reference === 'taken') {
        await readSafetensorsHeader(source)
        return
      }
      const error = await errorOf(() => readSafetensorsHeader(source))
      expect(error.code).toBe('bad-input')
      expect(error.message.startsWith(`${FILE}: `)).toBe(true)
      expect(error.message).toMatch(reasonOf(reference))
    },
  )

  /** Our words for the reference's error; JSON errors have many. */
  function reasonOf(reference: string): RegExp {
    if (reference.includes('not fully covered')) return /bytes? of data, the header speaks of/
    if (reference.includes('invalid offset')) return /tensor "[ab]" (starts|ends) at byte/
    if (reference.includes('invalid shape')) return /tensor "a" has \d+ bytes of data; its shape .* need \d+/
    if (reference.includes('subbytes')) return /takes 12 bits, not whole bytes/
    // we stop at 2^53 while reading the number, before anything could be multiplied
    if (reference.includes('overflow computing')) return /expected an integer below 2\^53, found \d+/
    return /wrong header: .* at character \d+/
  }

  test.each([
    ['"a":E,"a":E', 'name comes twice'],
    ['"a":E,"\\u0061":E', 'name comes twice'],
    ['"__metadata__":{},"__metadata__":{}', 'key comes twice'],
    ['"__metadata__":{"k":"1","k":"2"}', 'metadata key "k" comes twice'],
  ])('stricter than the reference, as the format demands: {%s}', async (members, reason) => {
    const header = `{${members.replaceAll('E', '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}')}}`
    expect((await errorOf(() => readSafetensorsHeader(withHeader(header, 0)))).message).toContain(reason)
  })

  test('a product of dimensions past 2^53 is refused, though one is 0', async () => {
    const header = '{"a":{"dtype":"F32","shape":[67108864,134217728,67108864,0],"data_offsets":[0,0]}}'
    expect((await errorOf(() => readSafetensorsHeader(withHeader(header, 0)))).message).toContain(
      'more elements than',
    )
  })

  test('names of object members are just names', async () => {
    const { header } = peers.headers.find((h) => h.header.includes('constructor'))!
    const { tensors, metadata } = await readSafetensorsHeader(withHeader(header, 16))
    expect([...tensors.keys()]).toEqual(['constructor', 'toString'])
    expect(tensors.get('toString')).toEqual({ dtype: 'F32', shape: [2], begin: 8, end: 16 })
    expect(metadata.size).toBe(0)
  })

  test.each([
    [new Uint8Array(7), 'is 7 bytes long'],
    [Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255), '18446744073709551615 bytes; at most 100000000'],
    [Uint8Array.of(1, 0xe1, 0xf5, 5, 0, 0, 0, 0), '100000001 bytes; at most'],
    [Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0, 123, 125), 'header of 3 bytes but has 2'],
    [Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 255, 254), 'not UTF-8'],
  ])('%# refuses a wrong start before it reads on', async (bytes, reason) => {
    expect((await errorOf(() => readSafetensorsHeader(memorySource(FILE, bytes)))).message).toContain(reason)
  })

  test('only the header is read', async () => {
    const bytes = fixtureBytes('reference.safetensors')
    const inner = memorySource(FILE, bytes)
    let furthest = 0
    const source = {
      ...inner,
      read: (start: number, end: number) => {
        furthest = Math.max(furthest, end)
        return inner.read(start, end)
      },
    }
    expect((await readSafetensorsHeader(source)).dataStart).toBe(furthest)
  })

  test('a hundred thousand tensors at one place are refused', async () => {
    const entry = '{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}'
    const header = `{${Array.from({ length: 100_000 }, (_, i) => `"t${i}":${entry}`).join(',')}}`
    const { message } = await errorOf(() => readSafetensorsHeader(withHeader(header, 16)))
    expect(message).toContain('tensor "t1" starts at byte 0 of the data, expected 16 (an overlap)')
  })

  test('long runs of space, digits and brackets are refused without delay', async () => {
    const long = 3_000_000
    for (const header of [
      ' '.repeat(long),
      `{"a":${'1'.repeat(long)}`,
      `{"a":{"x":${'['.repeat(long)}`,
      `{"${'\\\\'.repeat(long)}`,
    ]) {
      await errorOf(() => readSafetensorsHeader(withHeader(header, 0)))
    }
  })
})

describe('the writer', () => {
  test.each(peers.written)(
    '$file: the bytes of the reference writer',
    async ({ file, tensors, metadata }) => {
      const shuffled = tensors
        .map(({ name, dtype, shape, data }) => tensor(name, dtype as SafetensorsDtype, shape, fromHex(data)))
        .reverse()
      expect(await written(shuffled, metadata)).toEqual(fixtureBytes(file))
    },
  )

  test('the golden headers of the reference tests', async () => {
    expect([...(await written([]))]).toEqual([8, 0, 0, 0, 0, 0, 0, 0, 123, 125, ...Array(6).fill(32)])
    const zeros = new Uint8Array(24)
    expect((await written([tensor('attn.0', 'F32', [1, 2, 3], zeros)]))[0]).toBe(64)
    expect((await written([tensor('attn0', 'F32', [1, 1, 2, 3], zeros)]))[0]).toBe(72)
  })

  test('what the reference wrote reads back, every byte', async () => {
    for (const { file, tensors, metadata } of peers.written) {
      const source = memorySource(file, fixtureBytes(file))
      const header = await readSafetensorsHeader(source)
      expect(Object.fromEntries(header.metadata)).toEqual(metadata)
      expect([...header.tensors.keys()].sort()).toEqual(tensors.map((t) => t.name).sort())
      for (const { name, dtype, shape, data } of tensors) {
        expect(header.tensors.get(name)).toMatchObject({ dtype, shape })
        expect(Buffer.from(await readTensorBytes(source, header, name)).toString('hex')).toBe(data)
      }
    }
  })

  test('metadata is sorted, so that the same input gives the same bytes', async () => {
    expect(await written([], { b: '1', a: '2' })).toEqual(await written([], { a: '2', b: '1' }))
  })

  test('floats are rounded to the dtype, in slabs and at any length', async () => {
    const values = Float64Array.from({ length: 2 ** 20 + 3 }, (_, i) => i / 7)
    const bytes = await written([tensor('w', 'BF16', [1, values.length], () => values)])
    const source = memorySource(FILE, bytes)
    const { matrix, dtype } = await readTensor(source, await readSafetensorsHeader(source), 'w')
    expect(dtype).toBe('bf16')
    for (const i of [0, 1, 2 ** 20 - 1, 2 ** 20, 2 ** 20 + 2]) {
      expect(Math.abs(matrix.data[i] - values[i])).toBeLessThanOrEqual(values[i] * 2 ** -8)
    }
  })

  test('data is asked for one tensor at a time, in the order of the file', async () => {
    const asked: string[] = []
    const lazy = (name: string) =>
      tensor(name, 'F32', [1], async () => {
        asked.push(name)
        return Float32Array.of(1)
      })
    const chunks = safetensorsChunks(layoutSafetensors([lazy('b'), lazy('a')]))
    await chunks.next()
    expect(asked).toEqual([])
    await chunks.next()
    expect(asked).toEqual(['a'])
    await chunks.next()
    expect(asked).toEqual(['a', 'b'])
  })

  test('what would make a wrong file is refused', async () => {
    const one = tensor('a', 'F32', [1], new Uint8Array(4))
    expect((await errorOf(() => layoutSafetensors([one, one]))).message).toContain('two tensors named "a"')
    await errorOf(() => layoutSafetensors([{ ...one, name: '__metadata__' }]))
    await errorOf(() => layoutSafetensors([{ ...one, name: '\ud800' }]))
    await errorOf(() => layoutSafetensors([{ ...one, dtype: 'F4', shape: [3] }]))
    await expect(written([{ ...one, data: new Uint8Array(5) }])).rejects.toThrow(RangeError)
    await expect(written([{ ...one, dtype: 'I32', data: Float32Array.of(1) }])).rejects.toThrow(RangeError)
  })
})

describe('tensors as matrices', () => {
  const values = Float64Array.of(1, -2.5, 3, 0.5, 0, 65504)
  const open = async (...tensors: TensorToWrite[]) => {
    const source = memorySource(FILE, await written(tensors))
    return { source, header: await readSafetensorsHeader(source) }
  }

  test.each([
    ['F64', 'f64', Float64Array],
    ['F32', 'f32', Float32Array],
    ['F16', 'f16', Float32Array],
  ] as const)('%s', async (stored, dtype, type) => {
    // an odd name length and the byte before leave the numbers unaligned
    const { source, header } = await open(
      tensor('w', stored, [2, 3], values),
      tensor('pad', 'U8', [1], new Uint8Array(1)),
    )
    expect(await readTensor(source, header, 'w')).toEqual({
      matrix: { rows: 2, columns: 3, data: type.from(values) },
      dtype,
    })
  })

  test('half precision may stay as it is stored', async () => {
    const { source, header } = await open(
      tensor('w', 'BF16', [2, 1], Float64Array.of(1, -2)),
      tensor('v', 'F32', [1, 1], Float32Array.of(3)),
    )
    expect(await readStoredTensor(source, header, 'w')).toEqual({
      rows: 2,
      columns: 1,
      dtype: 'bf16',
      data: Uint16Array.of(0x3f80, 0xc000),
    })
    expect(await readStoredTensor(source, header, 'v')).toEqual({
      rows: 1,
      columns: 1,
      data: Float32Array.of(3),
    })
  })

  test('the only matrix is found among other tensors', async () => {
    const { header } = await open(
      tensor('w', 'F16', [2, 3], values),
      tensor('b', 'F32', [6], values),
      tensor('i', 'I64', [1, 1], new Uint8Array(8)),
    )
    expect(onlyMatrix(FILE, header)).toBe('w')
  })

  test('several matrices are listed, the first six', async () => {
    const many = Array.from({ length: 8 }, (_, i) => tensor(`layer.${i}`, 'F32', [2, 3], values))
    const { header } = await open(...many)
    const { message } = await errorOf(() => onlyMatrix(FILE, header))
    expect(message).toContain('8 matrices; choose one with --tensor: "layer.0" F32 [2, 3], ')
    expect(message).toMatch(/"layer\.5" F32 \[2, 3\] and 2 more$/)
  })

  test('no matrix: what there is instead is listed', async () => {
    const { header } = await open(
      tensor('b', 'F32', [6], values),
      tensor('q', 'F8_E4M3', [1, 2], new Uint8Array(2)),
    )
    expect((await errorOf(() => onlyMatrix(FILE, header))).message).toContain(
      'it holds "b" F32 [6], "q" F8_E4M3 [1, 2]',
    )
    const none = await open()
    expect((await errorOf(() => onlyMatrix(FILE, none.header))).message).toContain('holds no tensors')
  })

  test('a name, a shape or a dtype that does not fit is refused with the way out', async () => {
    const { source, header } = await open(
      tensor('model.q_proj.weight', 'F32', [2, 3], values),
      tensor('model.q_proj.bias', 'F32', [6], values),
      tensor('fp8', 'F8_E4M3', [1, 2], new Uint8Array(2)),
    )
    const messageOf = async (name: string) => {
      const error = await errorOf(() => readTensor(source, header, name))
      expect(error).toMatchObject({ ...badInput(error.message, { file: FILE, tensor: name }) })
      return error.message
    }
    expect(await messageOf('model.q_porj.weight')).toContain('did you mean "model.q_proj.weight"')
    expect(await messageOf('Q_PROJ.W')).toContain('did you mean "model.q_proj.weight"?')
    expect(await messageOf('x')).toContain('it holds "model.q_proj.bias" F32 [6], "model.q_proj.weight" F32')
    expect(await messageOf('model.q_proj.bias')).toContain(
      'shape [6]; a matrix has 2 dimensions, as "model.q_proj.weight"',
    )
    expect(await messageOf('fp8')).toContain('stored as F8_E4M3')
  })
})
