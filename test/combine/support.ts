import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { layoutSafetensors, safetensorsChunks } from '../../src/formats/safetensors-writer.ts'
import { matrix } from '../../src/linalg/matrix/matrix.ts'
import { readFactors, readFloats } from '../../src/lora/factors.ts'
import { matchToBase } from '../../src/lora/match.ts'
import type { Adapter, AdapterModule } from '../../src/lora/model.ts'
import { adapterOf } from '../../src/lora/read/adapter.ts'
import { type InProcessOptions, type Result, runInProcess } from '../cli/run.ts'
import { documentOf } from '../cli/schema.ts'
import { jsEngine } from '../linalg/truncation/engines.ts'
import { counting, type TestTensor } from '../lora/support.ts'

export type Tensors = Readonly<Record<string, TestTensor>>

/** A safetensors file of these tensors, as any tool would write it. */
export async function writeTensors(
  path: string,
  tensors: Tensors,
  metadata?: Readonly<Record<string, string>>,
): Promise<string> {
  const named = Object.entries(tensors).map(([name, { shape, dtype = 'F32', data = counting(shape) }]) => ({
    name,
    dtype,
    shape,
    data,
  }))
  const chunks: Uint8Array[] = []
  for await (const chunk of safetensorsChunks(layoutSafetensors(named, metadata))) chunks.push(chunk)
  writeFileSync(path, Buffer.concat(chunks))
  return path
}

/** A PEFT adapter's folder. */
export async function writePeft(folder: string, tensors: Tensors, config: object = {}): Promise<string> {
  mkdirSync(folder, { recursive: true })
  await writeTensors(join(folder, 'adapter_model.safetensors'), tensors, { format: 'pt' })
  const full = { peft_type: 'LORA', r: 2, lora_alpha: 2, target_modules: ['fc'], ...config }
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(full))
  return folder
}

/** A model's folder of one shard. */
export async function writeBase(folder: string, tensors: Tensors, config?: object): Promise<string> {
  mkdirSync(folder, { recursive: true })
  await writeTensors(join(folder, 'model.safetensors'), tensors)
  if (config !== undefined) writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
  return folder
}

export async function openAdapter(path: string, alpha?: number): Promise<Adapter> {
  const adapter = await adapterOf(await openCheckpoint(path), alpha === undefined ? {} : { alpha })
  if (adapter === undefined) throw new Error(`${path}: no adapter`)
  return adapter
}

/** scale·B·A of each matrix, in float64, by the names that the modules have, or the base's tensors where there is one. */
export async function densesOf(path: string, base?: string): Promise<Map<string, Float64Array>> {
  const adapter = await openAdapter(path)
  let { modules } = adapter
  if (base !== undefined) {
    const { matched, unmatched } = matchToBase(adapter, await openCheckpoint(base))
    expect(unmatched).toEqual([])
    modules = matched.map(({ module }) => module)
  }
  const denses = new Map<string, Float64Array>()
  for (const module of modules) {
    for (let e = 0; e < module.experts; e++) {
      const isStack = module.kind === 'experts'
      const name = isStack ? `${module.tensor}[${e}]` : base === undefined ? module.label : module.tensor
      denses.set(name, await denseOf(module, isStack ? e : undefined))
    }
  }
  return denses
}

export async function denseOf(module: AdapterModule, expert?: number): Promise<Float64Array> {
  const { B, A, scale } = await readFactors(module, expert)
  const product = jsEngine.multiply(
    matrix(
      B.rows,
      B.columns,
      Float64Array.from(B.data, (x) => x * scale),
    ),
    matrix(A.rows, A.columns, Float64Array.from(A.data)),
  )
  return Float64Array.from(product.data)
}

/** The one tensor of a file by its name, as numbers. */
export async function tensorOf(path: string, name: string): Promise<Float64Array> {
  const tensor = (await openCheckpoint(path)).tensors.get(name)
  if (tensor === undefined) throw new Error(`${path}: no tensor ${name}`)
  return Float64Array.from(await readFloats(tensor))
}

export const namesIn = async (path: string): Promise<string[]> =>
  [...(await openCheckpoint(path)).tensors.keys()].sort()

/** Σ wᵢ·Mᵢ. */
export const weightedSum = (
  weights: readonly number[],
  matrices: readonly ArrayLike<number>[],
): Float64Array =>
  Float64Array.from(matrices[0], (_, i) => matrices.reduce((sum, one, j) => sum + weights[j] * one[i], 0))

/** Runs `resize … --json` or `merge … --json` and gives its document, held to its schema. It must say nothing else. */
export async function combined(
  command: 'resize' | 'merge',
  args: readonly string[],
  { code = 0, ...options }: InProcessOptions & { readonly code?: 0 | 1 } = {},
) {
  const result = await runInProcess([command, ...args, '--json'], options)
  expect(result.stderr).toBe('')
  expect(result.code).toBe(code)
  return documentOf(result.stdout, `${command}-1`)
}

/** Runs a command that must be refused: the one line that it says, without the program's name. */
export async function refused(args: readonly string[], options: InProcessOptions = {}): Promise<string> {
  const result: Result = await runInProcess(args, options)
  expect(result.stdout).toBe('')
  expect(result.code).toBe(2)
  expect(result.stderr).toMatch(/^lora-svd: [^\n]+\n$/)
  return result.stderr.slice('lora-svd: '.length, -1)
}
