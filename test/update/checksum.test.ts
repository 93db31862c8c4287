import fc from 'fast-check'
import { expect, test } from 'vitest'
import { withWorkspace } from '../../src/engine/wasm/workspace.ts'
import { checksumOf } from '../../src/io/checksum.ts'
import { checksumIn } from '../../src/update/checksum.ts'
import '../property-seed.ts'

test('the kernel’s checksum is that of the loop, wherever bytes lie and however they come', async () => {
  const cuts = fc.array(fc.tuple(fc.nat(70), fc.boolean()), { maxLength: 12 })
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), cuts, fc.nat(15), async (bytes, parts, offset) => {
      await withWorkspace(async (workspace) => {
        const checksum = checksumIn(workspace)
        const address = workspace.allocate(512) + offset
        let at = 0
        for (const [length, isInWorkspace] of [...parts, [bytes.length, true] as const]) {
          const part = bytes.subarray(at, at + length)
          const there = new Uint8Array(workspace.memory.buffer, address, part.length)
          there.set(part)
          checksum.add(isInWorkspace ? there : part)
          at += part.length
        }
        expect(checksum.value()).toBe(checksumOf(bytes))
      })
    }),
  )
})
