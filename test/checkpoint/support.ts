import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import type { SafetensorsDtype } from '../../src/formats/safetensors-dtype.ts'
import {
  layoutSafetensors,
  safetensorsChunks,
  type TensorData,
} from '../../src/formats/safetensors-writer.ts'
import { temporaryFolder } from '../temporary.ts'

export const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url))

/** A new folder with these files in it, gone after the tests of this file. Names may have folders of their own. */
export function folderOf(files: Readonly<Record<string, Uint8Array | string>> = {}): string {
  const folder = temporaryFolder('checkpoint')
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), content)
  }
  return folder
}

export type TensorSpec = readonly [dtype: SafetensorsDtype, shape: readonly number[], data?: TensorData]

const BYTES: Partial<Record<SafetensorsDtype, number>> = { F64: 8, I64: 8, F32: 4, I32: 4, F16: 2, BF16: 2 }

/** A safetensors file of these tensors; zeros where no data is given. */
export async function safetensors(
  tensors: Readonly<Record<string, TensorSpec>>,
  metadata?: Record<string, string>,
): Promise<Buffer> {
  const layout = layoutSafetensors(
    Object.entries(tensors).map(([name, [dtype, shape, data]]) => {
      const count = shape.reduce((product, n) => product * n, 1)
      return { name, dtype, shape, data: data ?? new Uint8Array(count * (BYTES[dtype] ?? 1)) }
    }),
    metadata,
  )
  const chunks: Uint8Array[] = []
  for await (const chunk of safetensorsChunks(layout)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** A file of these tensors, opened. */
export async function checkpoint(tensors: Readonly<Record<string, TensorSpec>>, name = 'model.safetensors') {
  return openCheckpoint(join(folderOf({ [name]: await safetensors(tensors) }), name))
}

/** The text of an index. */
export const index = (weightMap: Readonly<Record<string, string>>, metadata: unknown = {}) =>
  JSON.stringify({ metadata, weight_map: weightMap })
