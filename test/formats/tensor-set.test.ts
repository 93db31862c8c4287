import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { openTensors } from '../../src/formats/open.ts'
import { readMatrixOf, type TensorSet } from '../../src/formats/tensor-set.ts'
import { type ByteSource, memorySource, openSource } from '../../src/io/source.ts'
import { npyDict, npyFile, safetensorsFile, tensor, zipFile } from '../cli/files.ts'
import { expected, fixtureBytes, fixturePath, numbers, peers } from './fixtures.ts'

const folder = mkdtempSync(join(tmpdir(), 'lora-svd-sets-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** The places that a set can be opened from. */
const PLACES = {
  file: (file: string) => openSource(fixturePath(file)),
  memory: async (file: string) => memorySource(file, fixtureBytes(file)),
  'standard input': (file: string) => openSource('-', { stdin: pieces(fixtureBytes(file)) }),
}

async function* pieces(bytes: Uint8Array) {
  for (let at = 0; at < bytes.length; at += 50) yield bytes.subarray(at, at + 50)
}

async function withSet(source: ByteSource, use: (set: TensorSet) => Promise<void>): Promise<void> {
  try {
    await use(await openTensors(source))
  } finally {
    await source.close()
  }
}

/** Every fixture that the reference wrote with names and shapes, with the tensor that is looked at. */
const MATRICES = [
  ...expected.matrices.map((stored) => ({ ...stored, tensor: undefined })),
  ...expected.npz.map((stored) => ({ ...stored, dtype: undefined })),
]

describe.each(Object.entries(PLACES))('from %s', (_, open) => {
  test.each(MATRICES)('$file holds what NumPy reads', async (stored) => {
    await withSet(await open(stored.file), async (set) => {
      const name = stored.tensor ?? [...set.tensors.keys()][0]
      const { rows, columns, data } = await readMatrixOf(set, name, {})
      expect([rows, columns]).toEqual(stored.shape)
      expect(Array.from(data)).toEqual(numbers(stored))
    })
  })

  test.each(peers.written)(
    '$file holds the bytes that the reference writer put there',
    async ({ file, tensors }) => {
      await withSet(await open(file), async (set) => {
        expect([...set.names].sort()).toEqual(tensors.map(({ name }) => name).sort())
        for (const { name, dtype, shape, data } of tensors) {
          const found = set.tensors.get(name)
          expect(found).toMatchObject({ name, dtype, shape, bytes: data.length / 2 })
          expect(Buffer.from(await set.read(name, 0, data.length / 2)).toString('hex')).toBe(data)
        }
      })
    },
  )

  test('any range is that slice of the whole, with and without memory of its own', async () => {
    const files = [...expected.matrices, ...peers.written].map(({ file }) => file)
    const share = fc.double({ min: 0, max: 1, noNaN: true })
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...files), share, share, fc.nat(3), async (file, a, b, room) => {
        await withSet(await open(file), async (set) => {
          for (const { name, bytes } of set.tensors.values()) {
            const whole = Uint8Array.from(await set.read(name, 0, bytes))
            expect(whole.length).toBe(bytes)
            const [from, to] = [Math.floor(Math.min(a, b) * bytes), Math.floor(Math.max(a, b) * bytes)]
            const part = whole.slice(from, to)
            expect(Uint8Array.from(await set.read(name, from, to))).toEqual(part)
            const target = new Uint8Array(to - from + room).fill(170)
            const filled = await set.read(name, from, to, target)
            expect(Uint8Array.from(filled)).toEqual(part)
            expect(Array.from(target)).toEqual([...part, ...new Array(room).fill(170)])
          }
        })
      }),
      { numRuns: 60 },
    )
  })
})

describe('a set', () => {
  test('refuses what is not there', async () => {
    const set = await openTensors(memorySource('w.npy', fixtureBytes('f8-little.npy')))
    const { bytes } = set.tensors.get('w.npy')!
    await expect(set.read('v.npy', 0, 1)).rejects.toThrow(RangeError)
    for (const [from, to] of [
      [0, bytes + 1],
      [-1, 1],
      [2, 1],
    ]) {
      await expect(set.read('w.npy', from, to)).rejects.toThrow(RangeError)
    }
  })

  test('decodes a tensor without a range once for all its parts', async () => {
    const { counts, counted } = counting('w.npy', fixtureBytes('fortran.npy'))
    const set = await openTensors(counted)
    const [{ name, bytes }] = set.tensors.values()
    counts.bytes = 0
    for (let at = 0; at + 8 <= bytes; at += 8) await set.read(name, at, at + 8)
    expect(counts.bytes).toBe(counted.byteLength)
  })
})

/** A source that counts what is read of it. */
function counting(name: string, bytes: Uint8Array) {
  const inner = memorySource(name, bytes)
  const counts = { bytes: 0 }
  const counted: ByteSource = {
    ...inner,
    read: (start, end) => {
      counts.bytes += end - start
      return inner.read(start, end)
    },
    readInto: (target, start) => {
      counts.bytes += target.length
      return inner.readInto(target, start)
    },
  }
  return { counts, counted }
}

describe('opening reads headers alone', () => {
  const MIB = 2 ** 20
  const npy = (order = '<f4') => npyFile(npyDict(order, '(1024, 2048)'), 8 * MIB)

  const W = safetensorsFile({ W: tensor('F32', [1024, 2048], [0, 8 * MIB]) }, 8 * MIB)

  test.each([
    ['W.npy', npy(), 12_000],
    ['big-endian.npy', npy('>f4'), 12_000],
    // the end of the archive, where a comment may be, and a member's start
    ['W.npz', zipFile([{ name: 'W.npy', bytes: npy() }]), 80_000],
    ['W.safetensors', W, 2_000],
  ])('%s', async (name, bytes, most) => {
    const { counts, counted } = counting(name, bytes)
    const set = await openTensors(counted)
    expect([...set.tensors.values()]).toMatchObject([{ dtype: 'F32', shape: [1024, 2048], bytes: 8 * MIB }])
    expect(counts.bytes).toBeLessThan(most)
  })

  test('and what lies as it is read is read by its range', async () => {
    const path = join(folder, 'W.npy')
    writeFileSync(path, npy())
    const source = await openSource(path)
    const { counts, counted } = counting('W.npy', npy())
    const set = await openTensors(counted)
    counts.bytes = 0
    await set.read('W.npy', 4 * MIB, 4 * MIB + 16)
    expect(counts.bytes).toBe(16)
    await withSet(source, async (ofFile) => {
      expect(await ofFile.read('W.npy', 4 * MIB, 4 * MIB + 16)).toEqual(new Uint8Array(16))
    })
  })
})
