import { createHash, type Hash } from 'node:crypto'
import { bringRangesNear } from '../checkpoint/near.ts'
import { withBytes } from '../checkpoint/read.ts'
import type { ByteRange, StoredTensor } from '../checkpoint/types.ts'
import { openFile } from '../io/source.ts'

/** Read at the beginning, in the middle and at the end of each tensor: training moves nearly all of its numbers. */
const SAMPLE_BYTES = 4096

/**
 * A digest of what a job reads, where each machine may have copies of its own: of `facts`, anything that JSON can hold, and of the tensors of
 * each side: their names, dtypes and shapes, and a sample of their bytes, so that two fine-tunes of one model are told apart without reading
 * them whole.
 */
export async function contentDigest(
  facts: unknown,
  sides: Readonly<Record<string, readonly StoredTensor[]>>,
  signal: AbortSignal | undefined,
): Promise<string> {
  await bringRangesNear(Object.values(sides).flat().flatMap(samplesOf))
  const hash = createHash('sha256').update(JSON.stringify(facts))
  for (const [side, tensors] of Object.entries(sides)) {
    // experts of one stack share a tensor
    for (const tensor of new Set(tensors)) {
      signal?.throwIfAborted()
      const { name, dtype, shape, bytes } = tensor
      hash.update(JSON.stringify([side, name, dtype, shape, bytes]))
      await addSample(hash, tensor)
    }
  }
  return hash.digest('hex')
}

/** Where the samples of a tensor lie: elsewhere they are asked for at once. */
const samplesOf = ({ source, bytes }: StoredTensor): ByteRange[] =>
  source.kind === 'range'
    ? sampleOf(bytes).map(([begin, end]) => ({
        file: source.file,
        begin: source.begin + begin,
        end: source.begin + end,
      }))
    : []

async function addSample(hash: Hash, { source, name, bytes }: StoredTensor): Promise<void> {
  if (source.kind === 'memory') {
    const { buffer, byteOffset, byteLength } = source.matrix.data
    hash.update(new Uint8Array(buffer, byteOffset, byteLength))
    return
  }
  if (source.kind !== 'file') {
    return withBytes(source, name, async (read) => {
      for (const [begin, end] of sampleOf(bytes)) hash.update(await read(begin, end))
    })
  }
  const file = await openFile(source.file)
  try {
    for (const [begin, end] of sampleOf(file.byteLength)) hash.update(await file.read(begin, end))
  } finally {
    await file.close()
  }
}

const sampleOf = (bytes: number): [begin: number, end: number][] => {
  const last = Math.max(0, bytes - SAMPLE_BYTES)
  return [0, Math.floor(last / 2), last].map((begin) => [begin, Math.min(bytes, begin + SAMPLE_BYTES)])
}
