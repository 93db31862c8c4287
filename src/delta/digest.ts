import type { Workspace } from '../engine/wasm/workspace.ts'
import type { Matrix } from '../linalg/matrix/matrix.ts'
import { unitExponent } from '../linalg/svd/scaling.ts'
import { BLOCK, describedShape, paddedCount, sampleSize } from '../linalg/truncation/entries.ts'
import { isMostlyUpper, splitWords } from '../linalg/truncation/halves.ts'
import { sha256 } from '../linalg/truncation/streams.ts'

const F32_BYTES = 4
const HALF_BYTES = 2
/** What a kernel may overwrite behind its result. */
const BEYOND = 16
/** The largest exponent of a power of two that float32 has. */
const LARGEST_EXPONENT = 127

/** What `entriesDigest` gives of a delta in the workspace's memory, the entries made ready by a kernel. `largest` is the largest |entry|. */
export function digestOf(delta: Matrix<Float32Array>, largest: number, workspace: Workspace): Uint8Array {
  return sha256(described(delta, largest, workspace))
}

function* described(
  delta: Matrix<Float32Array>,
  largest: number,
  { kernels, memory, allocate }: Workspace,
): Generator<Uint8Array, void, void> {
  const { byteOffset, length } = delta.data
  // only numbers below 2⁻¹²⁷ need two steps, and only up, where none rounds
  const exponent = -unitExponent(largest)
  const least = Math.min(LARGEST_EXPONENT, exponent)
  const scales = [2 ** least, 2 ** (exponent - least)] as const
  const scaled = allocate(BLOCK * F32_BYTES)
  const sample = sampleSize(delta)
  kernels.rescale(sample, byteOffset, scaled, ...scales)
  const isSplit = isMostlyUpper(new Int32Array(memory.buffer, scaled, sample))
  yield describedShape(delta, isSplit ? 'halves' : 'f32')
  const split = allocate(isSplit ? splitWords(BLOCK) * HALF_BYTES + BEYOND : 0)
  for (let start = 0; start < length; start += BLOCK) {
    const from = byteOffset + start * F32_BYTES
    const count = Math.min(BLOCK, length - start)
    const padded = paddedCount(count)
    if (isSplit && padded === count) {
      yield new Uint8Array(memory.buffer, split, kernels.splitHalves(count, from, split, ...scales))
      continue
    }
    kernels.rescale(count, from, scaled, ...scales)
    if (isSplit) {
      new Float32Array(memory.buffer, scaled, padded).fill(0, count)
      yield new Uint8Array(memory.buffer, split, kernels.splitHalves(padded, scaled, split, 1, 1))
    } else yield new Uint8Array(memory.buffer, scaled, count * F32_BYTES)
  }
}
