import { writeFileSync } from 'node:fs'
import { expect } from 'vitest'
import { type Float64Matrix, transpose } from '../../src/linalg/matrix/matrix.ts'
import { fileOf, folderWith, type Weights } from './apply-support.ts'
import { type InProcessOptions, runInProcess } from './run.ts'
import { documentOf } from './schema.ts'

/** Runs `compare … --json` and gives its document. It must end well and say nothing else. */
export async function compared(args: readonly string[], options: InProcessOptions = {}) {
  const { stdout, stderr, code } = await runInProcess(['compare', ...args, '--json'], options)
  expect(stderr).toBe('')
  expect(code).toBe(0)
  return documentOf(stdout, 'compare-1')
}

export const stored = ({ rows, columns, data }: Float64Matrix): Weights => ({
  ...{ dtype: 'F64', shape: [rows, columns], data },
})

/** A module's change U·Vᵀ, to be stored as it is. */
export interface Module {
  /** [rows, rank]. */
  readonly U: Float64Matrix
  /** [columns, rank]. */
  readonly V: Float64Matrix
}

/** Writes a PEFT folder with these modules by their paths; `config` and `more` tensors beside. Gives its path. */
export function peftFolder(
  path: string,
  modules: Readonly<Record<string, Module>>,
  config: object = {},
  more: Readonly<Record<string, Weights>> = {},
): string {
  const rank = Object.values(modules)[0].U.columns
  const tensors = Object.entries(modules).flatMap(([name, { U, V }]) => [
    [`base_model.model.${name}.lora_A.weight`, stored(transpose(V))] as const,
    [`base_model.model.${name}.lora_B.weight`, stored(U)] as const,
  ])
  return folderWith(path, {
    'adapter_config.json': {
      peft_type: 'LORA',
      r: rank,
      lora_alpha: rank,
      target_modules: Object.keys(modules).map((name) => name.split('.').at(-1)),
      ...config,
    },
    'adapter_model.safetensors': fileOf({ ...Object.fromEntries(tensors), ...more }),
  })
}

/** Writes a file in kohya's names. Gives its path. */
export function writeTensors(path: string, tensors: Readonly<Record<string, Weights>>): string {
  writeFileSync(path, fileOf(tensors))
  return path
}
