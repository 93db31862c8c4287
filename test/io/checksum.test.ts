import fc from 'fast-check'
import { expect, test } from 'vitest'
import { checksumOf, createChecksum } from '../../src/io/checksum.ts'
import '../property-seed.ts'

/** Of the reference implementation, with the seed 0. */
const VECTORS: readonly (readonly [text: string, value: number])[] = [
  ['', 0x02cc5d05],
  ['a', 0x550d7456],
  ['abc', 0x32d153ff],
  ['Nobody inspects the spammish repetition', 0xe2293b2f],
]

test.each(VECTORS)('XXH32 of %j', (text, value) => {
  expect(checksumOf(new TextEncoder().encode(text))).toBe(value)
})

test('is the same however the bytes come', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.array(fc.nat(40), { maxLength: 12 }), (bytes, cuts) => {
      const checksum = createChecksum()
      let at = 0
      for (const cut of cuts) {
        checksum.add(bytes.subarray(at, at + cut))
        at = Math.min(bytes.length, at + cut)
      }
      checksum.add(bytes.subarray(at))
      expect(checksum.value()).toBe(checksumOf(bytes))
    }),
  )
})

test('any changed byte shows', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 100 }), fc.nat(), fc.nat(254), (bytes, at, by) => {
      const other = bytes.slice()
      other[at % bytes.length] ^= by + 1
      expect(checksumOf(other)).not.toBe(checksumOf(bytes))
    }),
  )
})
