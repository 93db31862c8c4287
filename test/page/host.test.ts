import * as crypto from 'node:crypto'
import * as path from 'node:path'
import * as zlib from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Buffer as OwnBuffer } from '../../src/page/host/node/buffer.ts'
import { createCipheriv, createHash } from '../../src/page/host/node/crypto.ts'
import * as ownPath from '../../src/page/host/node/path.ts'
import { constants, inflateRawSync } from '../../src/page/host/node/zlib.ts'

/** What stands for Node's modules in a page does what Node's do. */

const bytes = (length: number, seed = 1) => Uint8Array.from({ length }, (_, i) => (seed * i * i + 7 * i) >> 3)

describe('SHA-256', () => {
  test('of the examples of FIPS 180-4', () => {
    const digest = (text: string) => createHash('sha256').update(text).digest('hex')
    expect(digest('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
    expect(digest('abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq')).toBe(
      '248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1',
    )
  })

  test('of bytes that come in any pieces is Node’s', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 8 }), (pieces) => {
        const [own, nodes] = [createHash('sha256'), crypto.createHash('sha256')]
        for (const piece of pieces) {
          own.update(piece)
          nodes.update(piece)
        }
        expect(own.digest('base64')).toBe(nodes.digest('base64'))
      }),
    )
  })
})

describe('AES-256 in counter mode', () => {
  test('gives Node’s stream, over many blocks and from a counter that overflows', () => {
    const key = bytes(32, 5)
    for (const counter of [new Uint8Array(16), new Uint8Array(16).fill(255)]) {
      const own = createCipheriv('aes-256-ctr', key, counter)
      const nodes = crypto.createCipheriv('aes-256-ctr', key, counter)
      for (const length of [1, 15, 16, 33, 5000]) {
        expect(own.update(bytes(length))).toEqual(new Uint8Array(nodes.update(bytes(length))))
      }
    }
  })
})

describe('inflateRawSync', () => {
  const text = new TextEncoder().encode('the rank of a matrix, '.repeat(400))
  const random = bytes(5000, 11)

  test.each([
    ['stored', { level: 0 }],
    ['codes of its own', { level: 9 }],
    ['fixed codes', { strategy: zlib.constants.Z_FIXED }],
    ['no matches', { strategy: zlib.constants.Z_HUFFMAN_ONLY }],
  ])('undoes deflate by %s', (_, options) => {
    for (const content of [text, random, new Uint8Array(0)]) {
      expect(inflateRawSync(zlib.deflateRawSync(content, options))).toEqual(content)
    }
  })

  test('undoes it for whatever bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 3000 }), (content) => {
        expect(inflateRawSync(zlib.deflateRawSync(content))).toEqual(content)
      }),
    )
  })

  test('gives the beginning of what is cut off where that is asked for, and else Node’s error', () => {
    const cut = zlib.deflateRawSync(text).subarray(0, 40)
    const start = inflateRawSync(cut, { finishFlush: constants.Z_SYNC_FLUSH })
    expect(start.length).toBeGreaterThan(10)
    expect(start).toEqual(text.subarray(0, start.length))
    expect(() => zlib.inflateRawSync(cut)).toThrow('unexpected end of file')
    expect(() => inflateRawSync(cut)).toThrow('unexpected end of file')
  })

  test('refuses what is damaged, in zlib’s words, and more than it may give', () => {
    const damaged: [Uint8Array, string][] = [
      [Uint8Array.of(7), 'invalid block type'],
      [Uint8Array.of(1, 5, 0, 5, 0), 'invalid stored block lengths'],
      // of fixed codes: a match before there is anything
      [Uint8Array.of(3, 2, 0), 'invalid distance too far back'],
    ]
    for (const [raw, problem] of damaged) {
      expect(() => zlib.inflateRawSync(raw)).toThrow(problem)
      expect(() => inflateRawSync(raw)).toThrow(problem)
    }
    const packed = zlib.deflateRawSync(text)
    expect(() => inflateRawSync(packed, { maxOutputLength: text.length - 1 })).toThrow(/larger than/)
    expect(inflateRawSync(packed, { maxOutputLength: text.length })).toEqual(text)
  })
})

test('paths are those of node:path between slashes', () => {
  const parts = fc.array(fc.constantFrom('', '.', '..', 'a', 'b.c', '.d', 'e.f.g'), { maxLength: 5 })
  fc.assert(
    fc.property(parts, parts, (first, second) => {
      // doubled slashes are of no file here
      const [a, b] = [first.join('/'), second.join('/')].map((joined) => joined.replace(/\/+/g, '/'))
      expect(ownPath.join(a, b)).toBe(path.posix.join(a, b).replace(/(?<=.)\/$/, ''))
      expect(ownPath.resolve('/', a, b)).toBe(path.posix.resolve('/', a, b))
      expect(ownPath.basename(a)).toBe(path.posix.basename(a))
      expect(ownPath.basename(a, '.c')).toBe(path.posix.basename(a, '.c'))
      expect(ownPath.extname(a)).toBe(path.posix.extname(a))
      expect(ownPath.dirname(a)).toBe(path.posix.dirname(a))
    }),
  )
})

test('bytes are compared, joined and read as texts as by Buffer', () => {
  const some = fc.uint8Array({ maxLength: 40 })
  fc.assert(
    fc.property(some, some, fc.nat(3), (a, b, offset) => {
      expect(OwnBuffer.compare(a, b)).toBe(Buffer.compare(a, b))
      // parts of larger buffers, which no word need begin at
      const moved = new Uint8Array([...bytes(offset), ...a]).subarray(offset)
      expect(OwnBuffer.compare(moved, a)).toBe(0)
      expect(OwnBuffer.concat([a, b])).toEqual(new Uint8Array(Buffer.concat([a, b])))
      const { buffer } = a.slice()
      expect(OwnBuffer.from(buffer).toString()).toBe(Buffer.from(buffer).toString('latin1'))
    }),
  )
  expect([...OwnBuffer.from('AAEC/w==', 'base64')]).toEqual([0, 1, 2, 255])
})
