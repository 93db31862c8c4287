import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Checkpoint, StoredTensor } from '../../src/checkpoint/types.ts'
import type { SafetensorsDtype } from '../../src/formats/safetensors-dtype.ts'
import { readSafetensorsHeader } from '../../src/formats/safetensors-header.ts'
import { layoutSafetensors, safetensorsChunks } from '../../src/formats/safetensors-writer.ts'
import { memorySource } from '../../src/io/source.ts'
import type { Adapter, AdapterModule } from '../../src/lora/model.ts'
import { adapterOf } from '../../src/lora/read/adapter.ts'
import { temporaryFolder } from '../temporary.ts'

export interface TestTensor {
  readonly shape: readonly number[]
  readonly dtype?: SafetensorsDtype
  readonly data?: Float64Array | Uint8Array
}

export interface TestCheckpoint {
  readonly tensors: Readonly<Record<string, TestTensor>>
  readonly adapterConfig?: Record<string, unknown>
  readonly config?: Record<string, unknown>
  readonly metadata?: Record<string, string>
}

let written = 0

export const elements = (shape: readonly number[]) => shape.reduce((product, n) => product * n, 1)

/** 1, 2, 3 … : the position of each entry can be read off its value. */
export const counting = (shape: readonly number[], first = 1) =>
  Float64Array.from({ length: elements(shape) }, (_, index) => index + first)

/** A checkpoint of one temporary safetensors file, as its opener would describe it. */
export async function checkpointOf({ tensors, metadata, ...rest }: TestCheckpoint): Promise<Checkpoint> {
  const layout = layoutSafetensors(
    Object.entries(tensors).map(([name, { shape, dtype = 'F32', data = counting(shape) }]) => ({
      name,
      dtype,
      shape,
      data,
    })),
    metadata,
  )
  const chunks: Uint8Array[] = []
  for await (const chunk of safetensorsChunks(layout)) chunks.push(chunk)
  const bytes = Buffer.concat(chunks)
  const path = join(temporaryFolder('adapter'), `${written++}.safetensors`)
  writeFileSync(path, bytes)
  const header = await readSafetensorsHeader(memorySource(path, bytes))
  const stored = [...header.tensors].map(([name, { dtype, shape, begin, end }]): [string, StoredTensor] => [
    name,
    {
      name,
      dtype,
      shape,
      bytes: end - begin,
      source: { kind: 'range', file: path, begin: header.dataStart + begin, end: header.dataStart + end },
    },
  ])
  return {
    path,
    tensors: new Map(stored),
    metadata: header.metadata,
    files: [{ path, bytes: bytes.length, modified: '0', inode: '0' }],
    warnings: [],
    ...rest,
  }
}

/** The adapter of a test checkpoint; fails where it is none. */
export async function adapterFrom(checkpoint: TestCheckpoint, alpha?: number): Promise<Adapter> {
  const adapter = await adapterOf(await checkpointOf(checkpoint), alpha === undefined ? {} : { alpha })
  if (adapter === undefined) throw new Error('no adapter was recognised')
  return adapter
}

/** The factors of a linear module [out, in] under each of PEFT's names. */
export const pair = (
  stem: string,
  { rank = 2, out = 4, columns = 3 }: { rank?: number; out?: number; columns?: number } = {},
): Record<string, TestTensor> => ({
  [`${stem}.lora_A.weight`]: { shape: [rank, columns] },
  [`${stem}.lora_B.weight`]: { shape: [out, rank] },
})

export const LORA = { peft_type: 'LORA', r: 2, lora_alpha: 4, target_modules: ['q_proj'] }

export const moduleNamed = (adapter: Adapter, label: string): AdapterModule => {
  const module = adapter.modules.find((candidate) => candidate.label === label)
  if (module === undefined)
    throw new Error(`no module ${label} among ${adapter.modules.map((m) => m.label).join(', ')}`)
  return module
}
