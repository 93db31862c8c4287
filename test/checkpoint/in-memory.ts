import type { Checkpoint, StoredTensor } from '../../src/checkpoint/types.ts'

export type Shapes = Readonly<Record<string, readonly number[]>>

/** A tensor of float32, all of whose entries are `value`. */
export function filled(name: string, shape: readonly number[], value: number): StoredTensor {
  const count = shape.reduce((product, n) => product * n, 1)
  const bytes = new Uint8Array(new Float32Array(count).fill(value).buffer)
  return { name, dtype: 'F32', shape, bytes: bytes.length, source: { kind: 'bytes', bytes } }
}

/** A checkpoint of tensors that lie in memory. */
export function inMemory(
  path: string,
  tensors: readonly StoredTensor[],
  config?: Record<string, unknown>,
): Checkpoint {
  return {
    path,
    tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])),
    metadata: new Map(),
    files: [],
    warnings: [],
    ...(config !== undefined && { config }),
  }
}

/** The number that a filled tensor is full of. */
export function fillOf({ source }: Pick<StoredTensor, 'source'>): number {
  if (source.kind !== 'bytes') throw new RangeError('not in memory')
  return new DataView(source.bytes.buffer, source.bytes.byteOffset).getFloat32(0, true)
}
