import { execFileSync } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { readWeight } from '../../src/checkpoint/read.ts'
import { adapterOf } from '../../src/lora/read/adapter.ts'
import { errorOf } from '../formats/fixtures.ts'
import { folderOf, index, safetensors } from './support.ts'

let W: Buffer
let lora: Buffer
beforeAll(async () => {
  W = await safetensors({ W: ['F32', [2, 3]] })
  lora = await safetensors({
    'base_model.model.q.lora_A.weight': ['F32', [1, 3]],
    'base_model.model.q.lora_B.weight': ['F32', [2, 1]],
  })
})

const pipe = (path: string) => execFileSync('mkfifo', [path])
/** A link to a device that never ends. */
const device = (path: string) => symlinkSync('/dev/zero', path)

describe.skipIf(process.platform === 'win32')('pipes and devices found in a folder', () => {
  test.each([
    ['a link to a device', device, 'is a device, not a file'],
    ['a pipe', pipe, 'is a pipe, not a file'],
  ])('%s as config.json is a warning', async (_, make, problem) => {
    const folder = folderOf({ 'model.safetensors': W })
    make(join(folder, 'config.json'))
    const { config, warnings } = await openCheckpoint(folder)
    expect(config).toBeUndefined()
    expect(warnings).toEqual([
      `${join(folder, 'config.json')}: ${problem}; put the file itself there; gone on without it`,
    ])
  })

  test.each([
    ['device', device],
    ['pipe', pipe],
  ])("a %s as an adapter's config, weights, shard or index is refused", async (what, make) => {
    const problem = `is a ${what}, not a file; put the file itself there`
    const adapter = folderOf({ 'adapter_model.safetensors': lora })
    make(join(adapter, 'adapter_config.json'))
    const weights = folderOf()
    make(join(weights, 'model.safetensors'))
    const sharded = folderOf({ 'model.safetensors.index.json': index({ W: 'a.safetensors' }) })
    make(join(sharded, 'a.safetensors'))
    const indexed = folderOf()
    make(join(indexed, 'model.safetensors.index.json'))
    for (const folder of [adapter, weights, sharded, indexed]) {
      const { code, message } = await errorOf(() => openCheckpoint(folder))
      expect([code, message]).toEqual(['bad-input', expect.stringContaining(problem)])
    }
  })

  test('a pipe as refs/main of the cache is refused', async () => {
    const folder = folderOf({ 'snapshots/a/model.safetensors': W })
    mkdirSync(join(folder, 'refs'))
    pipe(join(folder, 'refs/main'))
    expect((await errorOf(() => openCheckpoint(folder))).message).toContain('is a pipe, not a file')
  })

  test('a pipe that took the place of a file since it was opened is refused', async () => {
    const folder = folderOf({ 'W.csv': '1,2\n3,4\n' })
    const opened = await openCheckpoint(join(folder, 'W.csv'))
    const [{ source }] = [...opened.tensors.values()]
    expect(source).toMatchObject({ kind: 'file' })
    const weight = { name: 'W', tensor: 'W', rows: 2, columns: 2, dtype: 'f64', bytes: 32 } as const
    const replaced = join(folder, 'pipe')
    pipe(replaced)
    const reading = () =>
      readWeight({ ...weight, view: 'matrix', storedShape: [2, 2], source: { kind: 'file', file: replaced } })
    expect((await errorOf(reading)).message).toContain('is a pipe, not a file')
  })
})

describe('configs nested deeper than anything recursive takes', () => {
  const deep = (depth: number) => `{"r": ${'['.repeat(depth)}${']'.repeat(depth)}}`

  test('of a model: a warning', async () => {
    const folder = folderOf({ 'model.safetensors': W, 'config.json': deep(7000) })
    const { config, warnings } = await openCheckpoint(folder)
    expect(config).toBeUndefined()
    expect(warnings).toEqual([expect.stringContaining('more than 128 levels of nesting')])
  })

  test('in the metadata that diffusers writes: refused', async () => {
    const folder = folderOf()
    const file = join(folder, 'lora.safetensors')
    const factors = {
      'transformer.q.lora_A.weight': ['F32', [1, 3]],
      'transformer.q.lora_B.weight': ['F32', [2, 1]],
    } as const
    writeFileSync(file, await safetensors(factors, { lora_adapter_metadata: deep(7000) }))
    const { code, message } = await errorOf(async () => adapterOf(await openCheckpoint(file)))
    expect([code, message]).toEqual([
      'bad-input',
      expect.stringMatching(/lora_adapter_metadata is no right JSON: more than 128 levels of nesting/),
    ])
  })
})
