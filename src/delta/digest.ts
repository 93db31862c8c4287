import type { Workspace } from '../engine/wasm/workspace.ts'
import type { Matrix } from '../linalg/matrix/matrix.ts'
import { unitExponent } from '../linalg/svd/scaling.ts'
import { BLOCK, describedShape } from '../linalg/truncation/entries.ts'
import { sha256 } from '../linalg/truncation/streams.ts'

const F32_BYTES = 4
/** The largest exponent of a power of two that float32 has. */
const LARGEST_EXPONENT = 127

/** What `entriesDigest` gives of a delta in the workspace's memory, the entries made ready by a kernel. `largest` is the largest |entry|. */
export function digestOf(delta: Matrix<Float32Array>, largest: number, workspace: Workspace): Uint8Array {
  return sha256(described(delta, largest, workspace))
}

function* described(
  { rows, columns, data }: Matrix<Float32Array>,
  largest: number,
  { kernels, memory, allocate }: Workspace,
): Generator<Uint8Array, void, void> {
  yield describedShape({ rows, columns }, 'f32')
  // only numbers below 2⁻¹²⁷ need two steps, and only up, where none rounds
  const exponent = -unitExponent(largest)
  const first = Math.min(LARGEST_EXPONENT, exponent)
  const block = allocate(BLOCK * F32_BYTES)
  for (let start = 0; start < data.length; start += BLOCK) {
    const count = Math.min(BLOCK, data.length - start)
    kernels.rescale(count, data.byteOffset + start * F32_BYTES, block, 2 ** first, 2 ** (exponent - first))
    yield new Uint8Array(memory.buffer, block, count * F32_BYTES)
  }
}
