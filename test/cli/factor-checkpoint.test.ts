import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { PICKLE_PROBLEM } from '../../src/formats/sniff.ts'
import { type ErrorRow, factor, testErrors } from './errors.ts'
import { safetensorsFile, tensor } from './files.ts'
import { errorOf, readSafetensors } from './read-factors.ts'
import { runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/digits-llama/${name}`, import.meta.url))
const folder = temporaryFolder()
mkdirSync(join(folder, 'out'))
let outputs = 0

/** The document of `factor` and the error of what it wrote. */
async function factored(matrix: string, args: readonly string[], env = {}) {
  const out = join(folder, `${outputs++}.safetensors`)
  const result = await runInProcess(['factor', matrix, '-o', out, '--json', ...args], { cwd: folder, env })
  expect(result.stderr).toBe('')
  const { lora_A: A, lora_B: B } = readSafetensors(readFileSync(out))
  return { document: documentOf(result.stdout, 'factor-1'), A, B }
}

const F8 = { F8: tensor('F8_E4M3', [2, 2], [0, 4]) }
const SHARDS = fixture('tuned-bf16-sharded')
const INDEX = 'model.safetensors.index.json'
const NAME = 'model.layers.2.mlp.up_proj.weight'

describe.concurrent('one matrix of a checkpoint', () => {
  test.for([
    ['a folder', SHARDS],
    ['an index', join(SHARDS, INDEX)],
    ['a shard', join(SHARDS, 'model-00002-of-00002.safetensors')],
  ])('of %s', async ([, path]) => {
    const { document, A } = await factored(path, ['--tensor', NAME, '--rank', '8'])
    expect(document.source).toEqual({ path, name: NAME, dtype: 'bf16' })
    expect(document).toMatchObject({ shape: [256, 96], dtype: 'bf16', holds: true })
    expect(A.dtype).toBe('BF16')
  })

  test('of a model in the Hugging Face cache', async () => {
    const snapshot = join(folder, 'hub/models--org--name/snapshots/abc')
    mkdirSync(snapshot, { recursive: true })
    mkdirSync(join(folder, 'hub/models--org--name/refs'))
    writeFileSync(join(folder, 'hub/models--org--name/refs/main'), 'abc')
    copyFileSync(fixture('tuned/model.safetensors'), join(folder, 'hub/blob'))
    symlinkSync('../../../blob', join(snapshot, 'model.safetensors'))
    const env = { HF_HUB_CACHE: join(folder, 'hub') }
    const { document } = await factored('org/name', ['--tensor', NAME, '--rank', '8'], env)
    expect(document.source).toEqual({ path: 'org/name', name: NAME, dtype: 'f32' })
  })

  test('of F8: as exact as its factors are', async () => {
    const file = join(folder, 'f8.safetensors')
    writeFileSync(file, safetensorsFile(F8, Buffer.from([0x38, 0x40, 0x44, 0x7e])))
    const { document, A, B } = await factored(file, ['--rank', '2'])
    expect(document.source).toEqual({ path: file, name: 'F8', dtype: 'f8_e4m3' })
    expect(document.dtype).toBe('f32')
    expect(errorOf([1, 2, 3, 448], B, A)).toBeLessThan(1e-6)
  })

  test('a kernel as [out, in·kh·kw], an expert of a stack by its number', async () => {
    const file = join(folder, 'kernels.safetensors')
    const numbers = Float32Array.from({ length: 24 + 80 }, (_, i) => Math.sqrt(i + 1))
    const header = {
      conv: tensor('F32', [2, 3, 2, 2], [0, 96]),
      experts: tensor('F32', [2, 2, 20], [96, 416]),
    }
    writeFileSync(file, safetensorsFile(header, Buffer.from(numbers.buffer)))
    const kernel = await factored(file, ['--tensor', 'conv', '--rank', '2'])
    expect(kernel.document.shape).toEqual([2, 12])
    expect(errorOf([...numbers.subarray(0, 24)], kernel.B, kernel.A)).toBeLessThan(1e-6)
    const expert = await factored(file, ['--tensor', 'experts[1]', '--rank', '2'])
    expect(expert.document).toMatchObject({ shape: [2, 20], source: { name: 'experts[1]' } })
    expect(errorOf([...numbers.subarray(64)], expert.B, expert.A)).toBeLessThan(1e-6)
  })

  test('the only matrix needs no --tensor, though a kernel is there too', async () => {
    const file = join(folder, 'mixed.safetensors')
    const header = { conv: tensor('F32', [2, 1, 2, 2], [0, 32]), W: tensor('F32', [2, 2], [32, 48]) }
    writeFileSync(
      file,
      safetensorsFile(header, Buffer.from(Float32Array.from({ length: 12 }, (_, i) => i).buffer)),
    )
    const { document } = await factored(file, ['--rank', '1'])
    expect(document.source.name).toBe('W')
  })
})

const write = (name: string, bytes: Uint8Array | string) => {
  mkdirSync(join(folder, name, '..'), { recursive: true })
  writeFileSync(join(folder, name), bytes)
}
write('scaled.safetensors', safetensorsFile({ ...F8, F8_scale_inv: tensor('F32', [1], [4, 8]) }, 8))
write('experts.safetensors', safetensorsFile({ e: tensor('F32', [2, 2, 20], [0, 320]) }, 320))
write('shards/model.safetensors.index.json', '{"weight_map":{"W":"../W.safetensors"}}')
write('pickles/pytorch_model.bin', '')

const refused = (path: string, says: string, more: Partial<ErrorRow> = {}): ErrorRow => ({
  args: factor(path, ...(more.tensor === undefined ? [] : ['--tensor', more.tensor])),
  says: `${path}: ${says}`,
  kind: 'bad-input',
  file: path,
  ...more,
})

testErrors('checkpoints that are refused', folder, [
  refused(
    'scaled.safetensors',
    'tensor "F8" can\'t be read as a matrix: stored as F8_E4M3, which means nothing without its scales in "F8_scale_inv"',
    {
      tensor: 'F8',
    },
  ),
  refused(
    'experts.safetensors',
    'tensor "e" is a stack of 2 matrices; choose one, from --tensor "e[0]" to "e[1]"',
    { tensor: 'e' },
  ),
  refused(
    'experts.safetensors',
    'tensor "e" is a stack of 2 matrices; choose one, from --tensor "e[0]" to "e[1]"',
    { tensor: 'e[2]' },
  ),
  refused(
    'experts.safetensors',
    'holds 2 matrices; choose one with --tensor: "e[0]" F32 [2, 20], "e[1]" F32 [2, 20]',
  ),
  {
    ...refused('shards', ''),
    says: 'shards/model.safetensors.index.json: is no right index: the shard "../W.safetensors" of tensor "W" is no plain file name at character 38; correct it or fetch it again',
    file: 'shards/model.safetensors.index.json',
  },
  refused('pickles', `holds no safetensors file; "pytorch_model.bin" ${PICKLE_PROBLEM}`),
])
