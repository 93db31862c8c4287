import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { partOf } from '../../src/checkpoint/matrices.ts'
import { withBytes } from '../../src/checkpoint/read.ts'
import { temporaryFolder } from '../temporary.ts'

const folder = temporaryFolder('rows')
const CONTENT = Uint8Array.from({ length: 4000 }, (_, i) => (i * 37 + (i >> 8)) & 255)
const FILES = ['a', 'b'].map((name, i) => {
  writeFileSync(
    join(folder, name),
    CONTENT.map((x) => x ^ (i * 85)),
  )
  return join(folder, name)
})
const byteAt = (file: string, at: number) => CONTENT[at] ^ (file === FILES[1] ? 85 : 0)

const rows = fc
  .record({
    rowBytes: fc.integer({ min: 1, max: 40 }),
    places: fc.array(
      fc.record({
        file: fc.constantFrom(...FILES),
        begin: fc.nat(2000),
        count: fc.integer({ min: 1, max: 9 }),
      }),
      { minLength: 1, maxLength: 3 },
    ),
  })
  .chain(({ rowBytes, places }) => {
    const ranges = places.map(({ file, begin, count }) => ({ file, begin, end: begin + count * rowBytes }))
    const count = places.reduce((sum, one) => sum + one.count, 0)
    return fc.record({
      kind: fc.constant('rows' as const),
      ranges: fc.constant(ranges),
      rowBytes: fc.constant(rowBytes),
      order: fc
        .array(fc.nat(count - 1), { minLength: 1, maxLength: 30 })
        .map((order) => Uint32Array.from(order)),
    })
  })

/** Byte by byte. */
function bytesOf({ ranges, rowBytes, order }: Parameters<typeof partOf>[0] & { kind: 'rows' }): number[] {
  const all = ranges.flatMap(({ file, begin, end }) =>
    Array.from({ length: end - begin }, (_, i) => byteAt(file, begin + i)),
  )
  return [...order].flatMap((row) => all.slice(row * rowBytes, (row + 1) * rowBytes))
}

test('rows in any order are read from where they lie: all, a part, and whole rows as a tensor of their own', async () => {
  await fc.assert(
    fc.asyncProperty(rows, fc.nat(), fc.nat(), async (source, from, length) => {
      const expected = bytesOf(source)
      const begin = from % expected.length
      const end = begin + (length % (expected.length - begin + 1))
      await withBytes(source, 'w', async (read, fill) => {
        expect([...(await read(0, expected.length))]).toEqual(expected)
        expect([...(await read(begin, end))]).toEqual(expected.slice(begin, end))
        const target = new Uint8Array(end - begin)
        await fill(target, begin)
        expect([...target]).toEqual(expected.slice(begin, end))
      })
      const [first, last] = [Math.floor(begin / source.rowBytes), Math.ceil(end / source.rowBytes)]
      const part = partOf(source, first * source.rowBytes, last * source.rowBytes)
      await withBytes(part, 'w', async (read) => {
        const bytes = expected.slice(first * source.rowBytes, last * source.rowBytes)
        expect([...(await read(0, bytes.length))]).toEqual(bytes)
      })
    }),
    { numRuns: 150 },
  )
})

test('a file that was made shorter is named', async () => {
  const source = {
    kind: 'rows',
    ranges: [{ file: FILES[0], begin: 0, end: 5000 }],
    rowBytes: 10,
    order: Uint32Array.of(0),
  } as const
  await expect(withBytes(source, 'w', (read) => read(0, 10))).rejects.toThrow(
    'has 4000 bytes, and tensor "w" ended at byte 5000: it was made shorter',
  )
})
