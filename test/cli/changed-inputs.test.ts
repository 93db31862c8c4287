import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { readMatrix } from '../../src/checkpoint/read-matrix.ts'
import { apply } from '../../src/commands/apply/apply.ts'
import { compare } from '../../src/commands/compare/compare.ts'
import { extract } from '../../src/commands/extract/extract.ts'
import { factor } from '../../src/commands/factor/factor.ts'
import { LoraSvdError } from '../../src/errors.ts'
import type { ProgressEvent } from '../../src/jobs/context.ts'
import { temporaryFolder } from './run.ts'

const digits = (name: string) => fileURLToPath(new URL(`../fixtures/digits-llama/${name}`, import.meta.url))
const folder = temporaryFolder()
const at = (...names: string[]) => join(folder, ...names)
const [base, adapter, other] = ['base', 'adapter', 'other'].map((name) => at(name))

beforeAll(async () => {
  cpSync(digits('base'), base, { recursive: true })
  writeFileSync(at('base', 'tokenizer.json'), '{"version": 1}')
  await extract({ base: digits('base'), tuned: digits('tuned'), out: adapter, rank: 2 })
  cpSync(adapter, other, { recursive: true })
})

/** Writes other bytes of the same length into a file once a phase of the work begins. */
const changing = (path: string, phase: string) => ({
  onProgress: (progress: ProgressEvent) => {
    if (progress.kind !== 'start' || progress.phase !== phase) return
    const bytes = readFileSync(path)
    bytes[bytes.length - 2] ^= 1
    writeFileSync(path, bytes)
  },
})

const refusal = async (work: Promise<unknown>) => {
  const error = await work.then(() => undefined).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(LoraSvdError)
  const { code, file, message } = error as LoraSvdError
  expect(message).toBe(`${file}: was changed since it was opened; run the same command again`)
  return { code, file }
}

describe('an input that is overwritten while it is read', () => {
  test('ends compare', async () => {
    const file = join(other, 'adapter_model.safetensors')
    const work = compare({ adapters: [adapter, other], ...changing(file, 'comparing') })
    expect(await refusal(work)).toEqual({ code: 'bad-input', file })
  })

  test.for(['base', 'base/model.safetensors'])('ends factor of %s, and nothing is written', async (path) => {
    const file = at('base', 'model.safetensors')
    const work = factor({
      ...{ matrix: at(path), tensor: 'model.layers.0.self_attn.q_proj.weight', rank: 1 },
      ...{ out: at('factors.npz'), ...changing(file, 'factoring') },
    })
    expect(await refusal(work)).toEqual({ code: 'bad-input', file })
    expect(existsSync(at('factors.npz'))).toBe(false)
  })

  test('ends readMatrix, though its bytes are those of a matrix', async () => {
    const file = at('W.csv')
    writeFileSync(file, '1,2\n3,4\n')
    const handle = await open(file)
    const prototype: FileHandle = Object.getPrototypeOf(handle)
    await handle.close()
    const { read } = prototype
    const spy = vi.spyOn(prototype, 'read').mockImplementationOnce(async function (
      this: FileHandle,
      ...given
    ) {
      const result = await read.apply(this, given)
      writeFileSync(file, '1,2\n3,5\n')
      return result
    })
    expect(await refusal(readMatrix(file))).toEqual({ code: 'bad-input', file })
    spy.mockRestore()
    expect((await readMatrix(file)).matrix.data).toEqual(new Float64Array([1, 2, 3, 5]))
  })

  test('ends apply where it is a file that goes along', async () => {
    const file = at('base', 'tokenizer.json')
    const out = at('merged')
    const work = apply({ base, adapters: [adapter], out, ...changing(file, 'applying') })
    expect(await refusal(work)).toEqual({ code: 'bad-input', file })
    expect(existsSync(out)).toBe(false)
  })
})
