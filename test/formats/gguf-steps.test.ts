import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BLOCK_SIZES, type BlockDtype, decodeBlocks, stepsOf } from '../../src/formats/gguf-blocks.ts'

const TYPES: readonly BlockDtype[] = ['q8_0', 'q4_0', 'q4_k', 'q6_k']
/** Where in a block the float16 scales are, and where the codes of its first group and its last. */
const SCALES = { q8_0: [0], q4_0: [0], q4_k: [0, 2], q6_k: [208] } as const
const CODES = { q8_0: [2, 33], q4_0: [2, 17], q4_k: [16, 143], q6_k: [0, 127] } as const

test.each(TYPES)('%s: a step is what a number changes by where its code does by one', (dtype) => {
  const { bytes: size, elements } = BLOCK_SIZES[dtype]
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 2 * size, maxLength: 2 * size }), (random) => {
      const bytes = random.slice()
      // scales of ordinary size: 2^-8 to 2^-4
      for (const block of [0, size]) {
        for (const at of SCALES[dtype]) bytes[block + at + 1] = 0x1c + (bytes[block + at + 1] & 15)
      }
      const { size: group, steps } = stepsOf(bytes, dtype)
      expect(steps.length * group).toBe(2 * elements)
      const before = decodeBlocks(bytes, dtype)
      const seen = new Set<number>()
      for (const at of [...CODES[dtype], ...CODES[dtype].map((at) => at + size)]) {
        const changed = bytes.slice()
        changed[at] ^= 1
        const after = decodeBlocks(changed, dtype)
        const index = after.findIndex((x, i) => x !== before[i])
        if (index < 0) continue
        const step = Math.abs(steps[Math.floor(index / group)])
        seen.add(Math.floor(index / group))
        // the two numbers are float32
        const rounding = 2 ** -23 * Math.max(Math.abs(before[index]), Math.abs(after[index]))
        expect(Math.abs(Math.abs(after[index] - before[index]) - step)).toBeLessThanOrEqual(rounding)
      }
      return seen.size > 0 || steps.every((step) => step === 0) || dtype === 'q6_k' || dtype === 'q4_k'
    }),
    { numRuns: 60 },
  )
})
