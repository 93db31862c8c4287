import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ggufFixture } from '../formats/gguf-support.ts'
import { f32, fileOf, folderOf, noise } from './checkpoints.ts'
import { runInProcess } from './run.ts'
import { documentOf } from './schema.ts'

const every = ggufFixture('every.gguf')
const folder = folderOf({
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
  for (const [base, tuned] of [
    [every, 'model.safetensors'],
    ['model.safetensors', every],
  ]) {
    expect(await errorOf('extract', base, tuned, '-o', 'out', '--rank', '1')).toContain(
      "is a GGUF file, whose names and order of rows are llama.cpp's, not the adapter's; name the safetensors checkpoint",
    )
  }
})
