import type { Workspace } from '../engine/wasm/workspace.ts'
import { type Checksum, createChecksum, takeUp } from '../io/checksum.ts'

/** A checksum whose bytes go through a kernel where they lie in the workspace. */
export function checksumIn({ kernels, memory, allocate }: Workspace): Checksum {
  const address = allocate(4 * Int32Array.BYTES_PER_ELEMENT)
  return createChecksum((lanes, bytes) => {
    if (bytes.buffer !== memory.buffer) return takeUp(lanes, bytes)
    const own = new Int32Array(memory.buffer, address, lanes.length)
    own.set(lanes)
    kernels.takeStripes(address, bytes.byteOffset, bytes.length)
    lanes.set(own)
  })
}
