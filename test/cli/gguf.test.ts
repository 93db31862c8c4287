import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ggufFixture, raw, rawGguf } from '../formats/gguf-support.ts'
import { f32, fileOf, folderOf, noise } from './checkpoints.ts'
import { runInProcess } from './run.ts'
import { documentOf } from './schema.ts'

const every = ggufFixture('every.gguf')
const factor = (rows: number, columns: number, seed: number) => {
  const bytes = new Uint8Array(Float32Array.from(noise(rows * columns, seed)).buffer)
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 31)])
}
const adapter = rawGguf({
  keys: [
    ['general.architecture', ...raw.string('llama')],
    ['general.type', ...raw.string('adapter')],
    ['adapter.type', ...raw.string('lora')],
    ['adapter.lora.alpha', 6, Buffer.from(Float32Array.of(4).buffer)],
  ],
  tensors: [
    { name: 'blk.0.attn_q.weight.lora_a', dims: [24, 2] },
    { name: 'blk.0.attn_q.weight.lora_b', dims: [2, 16], offset: 192 },
  ],
  data: Buffer.concat([factor(2, 24, 1), factor(16, 2, 2)]),
})
const folder = folderOf({
  'adapter.gguf': adapter,
  'model.safetensors': fileOf({ 'layers.0.up.weight': f32([4, 8], noise(32, 1)) }),
  'ggufs/model.gguf': readFileSync(every),
})
const run = (...args: string[]) => runInProcess(args, { cwd: folder })
const errorOf = async (...args: string[]) => {
  const { stderr, code } = await run(...args)
  expect(code).toBe(2)
  return stderr
}

test('inspect shows the matrices of a GGUF file', async () => {
  const { stdout, code } = await run('inspect', every, '--json')
  expect(code).toBe(0)
  const { matrices, skipped, costs } = documentOf(stdout, 'inspect-1')
  expect(matrices.map(({ name, dtype }: { name: string; dtype: string }) => [name, dtype])).toContainEqual([
    'blk.0.attn_v.weight',
    'q4_k',
  ])
  expect(skipped.map(({ name }: { name: string }) => name)).toEqual([
    'blk.0.attn_norm.weight',
    'rope_factors',
  ])
  // of each matrix the row and column of rank 1, those in blocks in two bytes an entry
  const blocks = 2 * (3 + 64 + 5 + 64 + 4 + 512 + 8 + 256 + 2 * (3 + 32))
  expect(costs[0].bytes).toBe(blocks + 2 * (3 + 5) + 2 * (5 + 3) + 4 * (7 + 2) + 8 * (2 + 3))
})

test('factor takes one of them, and writes f32', async () => {
  const out = join(folder, 'v.safetensors')
  const { stdout, code } = await run(
    'factor',
    every,
    '--tensor',
    'blk.0.attn_q.weight',
    '-o',
    out,
    '--rank',
    '2',
    '--json',
  )
  expect(code).toBe(0)
  const { source, dtype } = documentOf(stdout, 'factor-1')
  expect([source.dtype, dtype]).toEqual(['q8_0', 'f32'])
})

test('what can not be made of a GGUF file is refused', async () => {
  expect(await errorOf('inspect', 'ggufs')).toContain(
    '"model.gguf" is a GGUF file; name it itself, not its folder',
  )
  expect(await errorOf('extract', 'model.safetensors', every, '-o', 'out', '--rank', '1')).toContain(
    "is a GGUF file, whose names and order of rows are llama.cpp's; as the tuned model name the safetensors checkpoint",
  )
  expect(await errorOf('extract', every, 'model.safetensors', '-o', 'out', '--rank', '1')).toContain(
    'model.safetensors: has no config.json that tells its architecture',
  )
})

test('inspect shows a GGUF adapter: its ranks, and that llama.cpp alone loads it', async () => {
  const { stdout, code } = await run('inspect', 'adapter.gguf', '--json')
  expect(code).toBe(0)
  const { subject, matrices, warnings } = documentOf(stdout, 'inspect-1')
  expect([subject, warnings]).toEqual(['adapter', []])
  expect(matrices[0]).toMatchObject({ name: 'blk.0.attn_q', dtype: 'f32', shape: [16, 24], rank: 2 })
  expect(matrices[0].adapter).toMatchObject({ nominalRank: 2, alpha: 4, scale: 2, wasted: 0 })
  expect(matrices[0].adapter.scales).toContainEqual({ loader: 'llama.cpp', scale: 2 })
  expect((await run('inspect', 'adapter.gguf')).code).toBe(0)
})

test.each([
  ['resize', 'adapter.gguf', '--rank', '1', '-o', 'out'],
  ['merge', 'adapter.gguf', 'adapter.gguf', '-o', 'out'],
])('%s writes no sum in llama.cpp’s names', async (...args) => {
  expect(await errorOf(...args)).toContain(
    'is a GGUF adapter, with the names and the order of rows of llama.cpp',
  )
})

test('apply takes neither a GGUF base nor a GGUF adapter of a model with other names', async () => {
  expect(await errorOf('apply', every, 'adapter.gguf', '-o', 'out')).toContain(
    'is quantised with GGUF (Q8_0)',
  )
  expect(await errorOf('apply', 'model.safetensors', 'adapter.gguf', '-o', 'out')).toContain(
    "GGUF's names hang on the model's architecture, which no config.json beside it tells",
  )
})
