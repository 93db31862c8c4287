import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encodeFloats } from '../../src/formats/dtype.ts'
import { floatDtypeOf } from '../../src/formats/safetensors-dtype.ts'
import { layoutSafetensors, safetensorsChunks } from '../../src/formats/safetensors-writer.ts'
import { matrix } from '../../src/linalg/matrix/matrix.ts'
import type { Factors } from '../../src/linalg/svd/svd.ts'
import { type ModuleOptions, peftModule, type TensorView } from '../../src/lora/kinds.ts'
import type { JsonObject, TargetModule } from '../../src/lora/model.ts'
import { type ModelTraits, modelTraits } from '../../src/lora/traits.ts'
import { adapterConfig, type ConfigFacts } from '../../src/lora/write/config.ts'
import { encodeFactors, zeroFactors } from '../../src/lora/write/encode.ts'
import type { AdapterPlan } from '../../src/lora/write/peft.ts'
import { ADAPTER_METADATA, plannedTensors, type TensorShape } from '../../src/lora/write/peft.ts'
import { loadPeftAdapter, type PeftAdapter, type Tensor } from './peft-rules.ts'

/** Numbers in (−1, 1) that differ from each other and are no floats of few bits. */
export function numbers(count: number, seed: number): Float64Array {
  let state = seed >>> 0
  return Float64Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 31 - 1
  })
}

/** A model of random weights by their shapes. */
export const modelOf = (shapes: Readonly<Record<string, readonly number[]>>): Map<string, Tensor> =>
  new Map(
    Object.entries(shapes).map(([name, shape], i) => [
      name,
      {
        shape,
        data: numbers(
          shape.reduce((product, n) => product * n, 1),
          i + 1,
        ),
      },
    ]),
  )

export const f32Shapes = (model: ReadonlyMap<string, { readonly shape: readonly number[] }>) =>
  new Map<string, TensorShape>([...model].map(([name, { shape }]) => [name, { dtype: 'F32', shape }]))

/** The traits of a model without a config.json, or with the one given. */
export const traitsOf = (
  tensors: ReadonlyMap<string, { readonly shape: readonly number[] }> = new Map(),
  config?: JsonObject,
) => modelTraits(config, tensors)

/** The module of a tensor that has one. */
export function moduleOf(
  name: string,
  shape: readonly number[],
  {
    view = 'matrix' as TensorView,
    traits = traitsOf(),
    ...options
  }: ModuleOptions & { view?: TensorView; traits?: ModelTraits } = {},
): TargetModule {
  const module = peftModule(name, view, shape, traits, options)
  if ('reason' in module) throw new Error(`${name}: ${module.reason}`)
  return module
}

/** Random factors of a rank for each of a module's matrices. */
export const randomFactors = (
  { rows, columns, experts }: TargetModule,
  rank: number,
  seed: number,
): Factors[] =>
  Array.from({ length: experts }, (_, e) => ({
    B: matrix(rows, rank, numbers(rows * rank, seed + 2 * e)),
    A: matrix(rank, columns, numbers(rank * columns, seed + 2 * e + 1)),
  }))

/** What the factors add to the stored tensor. */
export function deltaOf(factors: readonly Factors[]): number[] {
  return factors.flatMap(({ B, A }) =>
    Array.from({ length: B.rows * A.columns }, (_, at) => {
      const [i, j] = [Math.floor(at / A.columns), at % A.columns]
      let sum = 0
      for (let k = 0; k < A.rows; k++) sum += B.data[i * A.rows + k] * A.data[k * A.columns + j]
      return sum
    }),
  )
}

/** The bytes of an adapter's two files. */
export async function adapterFiles(
  plan: AdapterPlan,
  factors: ReadonlyMap<TargetModule, readonly Factors[]>,
  tuned: ReadonlyMap<string, Tensor> = new Map(),
  traits: ModelTraits = traitsOf(),
  facts: ConfigFacts = { baseModel: undefined, taskType: undefined },
): Promise<{ readonly weights: Buffer; readonly config: string }> {
  const tensors = plannedTensors(plan, f32Shapes(tuned), traits).map(({ content, ...tensor }) => {
    if (content.planned === undefined) {
      return { ...tensor, data: encodeFloats(tuned.get(content.tensor)!.data, floatDtypeOf(tensor.dtype)!) }
    }
    const { module, storedRank } = content.planned
    const values = factors.get(module) ?? zeroFactors(module)
    return { ...tensor, data: () => encodeFactors(module, values, storedRank, plan.dtype)[content.side] }
  })
  const chunks: Uint8Array[] = []
  for await (const chunk of safetensorsChunks(layoutSafetensors(tensors, ADAPTER_METADATA)))
    chunks.push(chunk)
  return { weights: Buffer.concat(chunks), config: adapterConfig(plan, facts) }
}

/** Does something with an adapter's folder, which is gone afterwards. */
export async function withFolder<T>(
  { weights, config }: { readonly weights: Buffer; readonly config: string },
  use: (folder: string) => T | Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-adapter-'))
  try {
    writeFileSync(join(folder, 'adapter_model.safetensors'), weights)
    writeFileSync(join(folder, 'adapter_config.json'), config)
    return await use(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** The two files of an adapter, written and read back by PEFT's rules; with their sizes. */
export async function writtenAdapter(
  ...adapter: Parameters<typeof adapterFiles>
): Promise<PeftAdapter & { bytes: { weights: number; config: number } }> {
  const files = await adapterFiles(...adapter)
  const bytes = { weights: files.weights.length, config: Buffer.byteLength(files.config) }
  return { ...(await withFolder(files, loadPeftAdapter)), bytes }
}
