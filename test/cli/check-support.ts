import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { fileOf, folderWith, random, type Weights } from './apply-support.ts'
import { type InProcessOptions, runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

export type Tensors = Record<string, Weights>

/** Runs `check … --json` and gives its document and exit code; nothing may be said besides. */
export async function checkedDocument(args: readonly string[], options: InProcessOptions = {}) {
  const { stdout, stderr, code } = await runInProcess(['check', ...args, '--json'], options)
  expect(stderr).toBe('')
  return { document: documentOf(stdout, 'check-1'), code }
}

let seeds = 0
/** Numbers of a trained factor. */
export const some = (...shape: number[]): Weights => random(shape, ++seeds)
export const zeros = (...shape: number[]): Weights => ({
  ...{ dtype: 'F32', shape, data: new Float64Array(shape.reduce((a, b) => a * b, 1)) },
})
export const scalar = (value: number): Weights => ({ dtype: 'F32', shape: [], data: [value] })
/** The same but for one entry. */
export const withEntry = (tensor: Weights, value: number): Weights => ({
  ...tensor,
  data: Float64Array.from(tensor.data, (x, i) => (i === 1 ? value : x)),
})

/** The layers of a block of a small Llama, [out, in]. */
export const LLAMA: Readonly<Record<string, readonly [number, number]>> = {
  'self_attn.q_proj': [16, 16],
  'self_attn.k_proj': [8, 16],
  'self_attn.v_proj': [8, 16],
  'self_attn.o_proj': [16, 16],
  'mlp.gate_proj': [24, 16],
  'mlp.up_proj': [24, 16],
  'mlp.down_proj': [16, 24],
}
export const LLAMA_LAYERS = Object.fromEntries(
  [0, 1].flatMap((i) =>
    Object.entries(LLAMA).map(([name, shape]) => [`model.layers.${i}.${name}`, shape] as const),
  ),
)

/** The two factors of modules under PEFT's names. */
export const peftPairs = (
  layers: Readonly<Record<string, readonly [number, number]>>,
  rank: number | ((path: string) => number) = 4,
  prefix = 'base_model.model.',
): Tensors =>
  Object.fromEntries(
    Object.entries(layers).flatMap(([path, [out, into]]) => {
      const r = typeof rank === 'number' ? rank : rank(path)
      return [
        [`${prefix}${path}.lora_A.weight`, some(r, into)],
        [`${prefix}${path}.lora_B.weight`, some(out, r)],
      ]
    }),
  )

/** The names that target_modules has for these paths. */
const leaves = (paths: readonly string[]) => [...new Set(paths.map((path) => path.split('.').at(-1)!))]

export const peftConfig = (layers: Readonly<Record<string, unknown>>, config: object = {}): object => ({
  ...{ peft_type: 'LORA', task_type: 'CAUSAL_LM', r: 4, lora_alpha: 4, bias: 'none' },
  ...{ base_model_name_or_path: 'org/model', target_modules: leaves(Object.keys(layers)) },
  ...config,
})

/** A PEFT folder of these tensors; without a config where it is null. */
export const peftFolder = (tensors: Tensors, config: object | null): string =>
  folderWith(join(temporaryFolder('check'), 'adapter'), {
    'adapter_model.safetensors': fileOf(tensors),
    ...(config !== null && { 'adapter_config.json': config }),
  })

/** The small Llama's adapter, with what is to be different. */
export const llamaAdapter = (config: object = {}, change: (tensors: Tensors) => void = () => {}): string => {
  const tensors = peftPairs(LLAMA_LAYERS)
  change(tensors)
  return peftFolder(tensors, peftConfig(LLAMA_LAYERS, config))
}

/** A file of these tensors. */
export function adapterFile(tensors: Tensors, metadata?: object, name = 'style.safetensors'): string {
  const path = join(temporaryFolder('check'), name)
  writeFileSync(path, fileOf(tensors, metadata))
  return path
}

export interface Spelling {
  readonly down: string
  readonly up: string
  /** Left out: no alpha. */
  readonly alpha?: (name: string) => number | undefined
}
export const KOHYA: Spelling = { down: '.lora_down.weight', up: '.lora_up.weight', alpha: () => 4 }
export const LORA_A: Spelling = { down: '.lora_A.weight', up: '.lora_B.weight' }

/** The factors of modules by their whole names; convolutions have a kernel. */
export const pairs = (
  modules: Readonly<Record<string, readonly number[]>>,
  { down, up, alpha }: Spelling,
  rank: number | ((name: string) => number) = 4,
): Tensors =>
  Object.fromEntries(
    Object.entries(modules).flatMap(([name, [out, into, ...kernel]]): [string, Weights][] => {
      const r = typeof rank === 'number' ? rank : rank(name)
      const scale = alpha?.(name)
      return [
        [name + down, some(r, into, ...kernel)],
        [name + up, some(out, r, ...kernel.map(() => 1))],
        ...(scale === undefined ? [] : [[`${name}.alpha`, scalar(scale)] as [string, Weights]]),
      ]
    }),
  )
