import { deflateRawSync } from 'node:zlib'
import { zipSync } from 'fflate'
import { describe, expect, test } from 'vitest'
import { readMatrixFrom } from '../../src/checkpoint/read-matrix.ts'
import { storedTensors } from '../../src/checkpoint/stored.ts'
import { writeNpy } from '../../src/formats/npy.ts'
import { openNpz, writeNpz } from '../../src/formats/npz.ts'
import { openTensors } from '../../src/formats/open.ts'
import { readMatrixOf, tensorSet } from '../../src/formats/tensor-set.ts'
import { readMember, readZipDirectory } from '../../src/formats/zip.ts'
import { type ByteSource, memorySource } from '../../src/io/source.ts'
import { float64s, npyDict, npyFile } from '../cli/files.ts'
import { errorOf, fixtureBytes } from './fixtures.ts'

const W = { rows: 2, columns: 2, data: Float64Array.of(1, 2, 3, 4) }
const entries = [
  { name: 'U', array: W },
  { name: 'S/ü', array: Float64Array.of(5, 6) },
]
const source = (bytes: Uint8Array) => memorySource('w.npz', bytes)
const messageOf = async (action: () => unknown) => (await errorOf(action)).message

describe('an archive', () => {
  test('that another zip library packs is read, stored and deflated', async () => {
    for (const level of [0, 9] as const) {
      const packed = source(zipSync({ 'W.npy': [writeNpy(W), { level }], 'note.txt': new Uint8Array(3) }))
      const set = await openTensors(packed)
      expect(set.names).toEqual(['W'])
      expect(await readMatrixOf(set, 'W', {})).toEqual(W)
    }
  })

  // found by bench/fuzz.mjs: unpacked bytes are a Buffer, whose slice shares its memory
  test.each([1, 2, 3])('by columns, %i bytes off where numbers lie, is read', async (off) => {
    const dict = npyDict('<f8', '(2, 2)').replace('False', 'True')
    // the magic, version and length before it take 10 bytes, the line's end after it 1
    const padding = ' '.repeat(off + 128 - 10 - dict.length - 1)
    const array = npyFile(dict + padding, float64s(1, 3, 2, 4))
    const set = await openTensors(source(zipSync({ 'W.npy': [array, { level: 9 }] })))
    expect(await readMatrixOf(set, 'W', {})).toEqual(W)
  })

  test('lists the names that were written', async () => {
    expect((await openNpz(source(writeNpz(entries)))).names).toEqual(['U', 'S/ü'])
  })

  test('with a name twice is refused', async () => {
    const twice = writeNpz([entries[0], { ...entries[0], name: 'V' }])
    const renamed = Uint8Array.from(twice, (byte) => (byte === 0x56 ? 0x55 : byte))
    expect(await messageOf(() => openNpz(source(renamed)))).toContain('"U.npy" twice')
  })

  test.each(['stored.npz', 'deflated.npz'])('%s: any changed byte of an array is noticed', async (file) => {
    const bytes = fixtureBytes(file)
    const name = new TextEncoder().encode('W.npy')
    const at = bytes.findIndex((_, i) => name.every((byte, k) => bytes[i + k] === byte)) + 200
    bytes[at] ^= 1
    await errorOf(async () => {
      for (const member of await readZipDirectory(source(bytes))) await readMember(source(bytes), member)
    })
  })

  test('that claims more than deflate can hold is refused before it is unpacked', async () => {
    const bytes = zipSync({ 'W.npy': [new Uint8Array(100_000), { level: 9 }] })
    const view = new DataView(bytes.buffer, bytes.byteOffset)
    const directory = view.getUint32(bytes.length - 6, true)
    view.setUint32(directory + 24, 4_000_000_000, true)
    const [member] = await readZipDirectory(source(bytes))
    expect(await messageOf(() => readMember(source(bytes), member))).toContain("can't hold the 4000000000")
  })

  test('with one matrix beside strings, complex numbers and vectors needs no name', async () => {
    const members = {
      'labels.npy': npyFile(npyDict('<U3', '(2, 2)'), 48),
      'C.npy': npyFile(npyDict('<c16', '(2, 2)'), 64),
      'S.npy': writeNpy(Float64Array.of(5, 6)),
      'W.npy': writeNpy(W),
    }
    expect(await readMatrixFrom(source(zipSync(members)))).toMatchObject({ name: 'W', matrix: W })
    const { 'W.npy': _, ...others } = members
    expect(await messageOf(() => readMatrixFrom(source(zipSync(others))))).toContain(
      'array "labels" holds entries of type "<U3"',
    )
  })
})

/** A zip archive from the APPNOTE: local records as they are given, and a directory of entries that may point anywhere. */
function archive(
  records: readonly Buffer[],
  listed: readonly { name: string; at: number; packed: number; size: number }[],
): Buffer {
  const directory = listed.map(({ name, at, packed, size }) => {
    const entry = Buffer.alloc(46)
    entry.write('PK\x01\x02', 'latin1')
    entry.writeUInt16LE(8, 10)
    entry.writeUInt32LE(packed, 20)
    entry.writeUInt32LE(size, 24)
    entry.writeUInt16LE(name.length, 28)
    entry.writeUInt32LE(at, 42)
    return Buffer.concat([entry, Buffer.from(name, 'latin1')])
  })
  const [body, tail] = [Buffer.concat(records), Buffer.concat(directory)]
  const end = Buffer.alloc(22)
  end.write('PK\x05\x06', 'latin1')
  end.writeUInt16LE(listed.length, 10)
  end.writeUInt32LE(tail.length, 12)
  end.writeUInt32LE(body.length, 16)
  return Buffer.concat([body, tail, end])
}

/** A local record of deflated bytes; its extra field may be longer than it should. */
function local(name: string, packed: Buffer, extra = 0): Buffer {
  const header = Buffer.alloc(30)
  header.write('PK\x03\x04', 'latin1')
  header.writeUInt16LE(8, 8)
  header.writeUInt16LE(name.length, 26)
  header.writeUInt16LE(extra, 28)
  return Buffer.concat([header, Buffer.from(name, 'latin1'), packed])
}

const ZEROS = npyFile(npyDict('<f8', '(1000, 1000)'), 8_000_000)
const PACKED = deflateRawSync(ZEROS, { level: 9 })

/** A source that counts what is read of it. */
function counting(bytes: Uint8Array) {
  const inner = source(bytes)
  const counts = { bytes: 0 }
  const counted: ByteSource = {
    ...inner,
    stamp: { bytes: bytes.length, modified: '0', inode: '0' },
    read: (start, end) => {
      counts.bytes += end - start
      return inner.read(start, end)
    },
  }
  return { counts, counted }
}

describe('an archive made to exhaust time or memory', () => {
  test('with members that share their data is refused from its directory', async () => {
    const names = Array.from({ length: 4000 }, (_, i) => `a${i}.npy`)
    const bomb = archive(
      [local(names[0], PACKED)],
      names.map((name) => ({ name, at: 0, packed: PACKED.length, size: ZEROS.length })),
    )
    const { counts, counted } = counting(bomb)
    for (const read of [readZipDirectory, openTensors, readMatrixFrom]) {
      expect(await messageOf(() => read(counted))).toContain('"a0.npy", which overlaps "a1.npy"')
    }
    expect(counts.bytes).toBeLessThan(4 * bomb.length)
  })

  test('with members whose headers hide the following ones is refused when they are read', async () => {
    // each extra field reaches to the data of the last
    const names = ['a.npy', 'b.npy', 'c.npy']
    const length = 30 + names[0].length
    const records = names.map((name, i) => local(name, i === 2 ? PACKED : Buffer.alloc(0), (2 - i) * length))
    const bomb = archive(
      records,
      names.map((name, i) => ({
        name,
        at: i * length,
        packed: i === 2 ? PACKED.length : 0,
        size: ZEROS.length,
      })),
    )
    // the directory of the first two must own up to no data, or they overlap at once
    const [a, , c] = await readZipDirectory(source(bomb))
    expect(await messageOf(() => readMember(source(bomb), a))).toContain("can't hold")
    const greedy = { ...a, packed: PACKED.length }
    expect(await messageOf(() => readMember(source(bomb), greedy))).toContain('what follows begins at')
    expect(c.packed).toBe(PACKED.length)
  })

  test('is listed by its headers: what is unpacked does not grow with the arrays', async () => {
    const names = Array.from({ length: 30 }, (_, i) => `a${i}.npy`)
    const records = names.map((name) => local(name, PACKED))
    const at = (i: number) => records.slice(0, i).reduce((sum, record) => sum + record.length, 0)
    const file = archive(
      records,
      names.map((name, i) => ({ name, at: at(i), packed: PACKED.length, size: ZEROS.length })),
    )
    const { counts, counted } = counting(file)
    const tensors = await storedTensors(tensorSet(counted, await openNpz(counted)))
    expect(tensors.map(({ shape }) => shape)).toEqual(names.map(() => [1000, 1000]))
    // the end, the directory, and of each array a header and 512 bytes
    expect(counts.bytes).toBeLessThan(66_000 + 30 * 700)
  })

  test('no more is unpacked for a header than twice its bytes may need', async () => {
    // blocks without a byte: whatever stands behind them, and may unpack to a thousand times as much, isn't reached
    const packed = Buffer.concat(new Array<Buffer>(70_000).fill(Buffer.from([0, 0, 0, 0xff, 0xff])))
    const size = 1000 * packed.length
    const bomb = archive([local('W.npy', packed)], [{ name: 'W.npy', at: 0, packed: packed.length, size }])
    const { counts, counted } = counting(bomb)
    const { refused } = await openNpz(counted)
    expect(refused.get('W')?.message).toContain('does not start as a .npy file does')
    // the end and the directory
    expect(counts.bytes).toBeLessThan(66_000 + 66_000)
  })

  test('a large array that unpacks from less than a hundredth is refused before it is unpacked', async () => {
    const size = 65 * 2 ** 20
    const packed = Buffer.concat([deflateRawSync(Buffer.alloc(100_000)), Buffer.alloc(size / 1000)])
    const bomb = archive([local('W.npy', packed)], [{ name: 'W.npy', at: 0, packed: packed.length, size }])
    const [member] = await readZipDirectory(source(bomb))
    expect(await messageOf(() => readMember(source(bomb), member))).toContain(
      `unpacks to ${size} bytes from ${packed.length}; past 67108864 bytes at most 100 times as many are unpacked`,
    )
  })
})
