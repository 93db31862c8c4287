import { expect, test } from 'vitest'
import { createSharedMemory } from '../../../src/engine/wasm/memory.ts'
import { compileKernels, instantiateKernels } from '../../../src/engine/wasm/module.ts'
import { SPLIT_STEP, splitHalves, splitWords } from '../../../src/linalg/truncation/halves.ts'
import { generator } from '../../engine/support.ts'

/** The numbers' bits that `words` were made of. */
function joined(words: Uint16Array, count: number): Int32Array {
  const flags = words.subarray(count, count + count / SPLIT_STEP)
  let at = count + flags.length
  return Int32Array.from({ length: count }, (_, i) => {
    const eight = i >>> 3
    const isThere = (flags[eight >>> 4] >>> (eight & 15)) & 1
    return (words[i] << 16) | (isThere ? words[at++] : 0)
  })
}

/** Words of which so large a share has something in the lower half. */
function words(count: number, share: number): Int32Array {
  const random = generator(5)
  const draw = () => Math.floor(random() * 2 ** 31)
  return Int32Array.from({ length: count }, () =>
    Math.abs(random()) < share ? draw() : (draw() & 0xffff0000) | 0,
  )
}

const COUNTS = [0, SPLIT_STEP, 5 * SPLIT_STEP]
const SHARES = [0, 0.01, 0.3, 1]

test.each(COUNTS.flatMap((count) => SHARES.map((share) => [count, share])))(
  '%d numbers, a share of %d with a lower half, can be told from what is hashed of them',
  (count, share) => {
    const bits = words(count, share)
    const out = new Uint16Array(splitWords(count)).fill(0xabcd)
    const length = splitHalves(bits, out)
    expect(joined(out.subarray(0, length), count)).toEqual(bits)
    if (share === 0) expect(length).toBe(count + count / SPLIT_STEP)
    if (share === 1) expect(length).toBe(splitWords(count))
  },
)

test.each(SHARES)('the kernel writes the same of numbers, a share of %d with a lower half', (share) => {
  // of which none is infinite, NaN or −0
  const bits = words(3 * SPLIT_STEP, share).map((word) => (word & ~(1 << 30)) | (1 << 29))
  const out = new Uint16Array(splitWords(bits.length))
  const expected = out.subarray(0, splitHalves(bits, out))
  const memory = createSharedMemory()
  memory.grow(1)
  const kernels = instantiateKernels(compileKernels(), memory)
  const from = kernels.heapBase()
  const to = from + bits.byteLength
  new Int32Array(memory.buffer, from, bits.length).set(bits)
  const bytes = kernels.splitHalves(bits.length, from, to, 1, 1)
  expect(new Uint16Array(memory.buffer.slice(to, to + bytes))).toEqual(expected)
})
