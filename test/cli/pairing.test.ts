/** Two models whose names or tensors differ, from the command line: what is carried, said, and the exit code. */
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readSafetensorsFile } from '../lora/peft-rules.ts'
import { extracted, type NewModel, type NewTensor, tunedBy, weight, writeModel } from './extract-support.ts'
import { runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

const folder = temporaryFolder()
const at = (name: string) => join(folder, name)
const model = (name: string, tensors: NewModel, config: object = { model_type: 'llama' }) =>
  writeModel(at(name), tensors, { config })
const renamed = (tensors: NewModel, rename: (name: string) => string): NewModel =>
  Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [rename(name), tensor]))

const layer = (i: number): Record<string, NewTensor> => ({
  [`model.layers.${i}.self_attn.q_proj.weight`]: weight([24, 24], 10 * i + 1),
  [`model.layers.${i}.mlp.up_proj.weight`]: weight([32, 24], 10 * i + 2),
  [`model.layers.${i}.input_layernorm.weight`]: weight([24], 10 * i + 3),
})
const base = {
  'model.embed_tokens.weight': weight([40, 24], 1001),
  ...layer(0),
  ...layer(1),
  'model.norm.weight': weight([24], 1002),
  'lm_head.weight': weight([40, 24], 1003),
}
const tuned: Record<string, NewTensor> = Object.fromEntries(
  Object.entries(base).map(([name, tensor], i) => [
    name,
    /layers|norm/.test(name) ? tunedBy(tensor, tensor.shape.length === 1 ? 1 : 2, 500 + i) : tensor,
  ]),
)
const inLanguageModel = (name: string) => name.replace(/^model\./, 'model.language_model.')
const withQuery = (name: string) => name.replace('q_proj', 'query')
const names = (rows: readonly { readonly name: string }[]) => rows.map(({ name }) => name)
const inspected = (name: string, ...args: string[]) =>
  runInProcess(['inspect', name, '--base', 'base', '--json', ...args], { cwd: folder })
const verified = (adapter: string, name: string, ...args: string[]) =>
  runInProcess(['verify', adapter, 'base', name, '--json', ...args], { cwd: folder })

model('base', base)
model('tuned', tuned)
model('language', renamed(tuned, inLanguageModel))
model('query', renamed(tuned, withQuery))
model('headed', { ...tuned, 'score.weight': weight([3, 24], 77) })
model('zero3', {
  ...renamed(tuned, (name) => name),
  'model.layers.0.mlp.up_proj.weight': { shape: [0], data: [] },
  'model.layers.1.mlp.up_proj.weight': { shape: [0], data: [] },
})
model('nan', {
  ...tuned,
  'model.norm.weight': {
    shape: [24],
    data: Float32Array.from(tuned['model.norm.weight'].data).fill(Number.NaN, 4, 6),
  },
})

describe.concurrent('a model under other names', () => {
  test('the text part renamed, the head not: all is carried, by the base’s names', async () => {
    const plain = await extracted(at('base'), at('tuned'), at('plain'), ['--rank=2', '--carry-rest'])
    const found = await extracted(at('base'), at('language'), at('adapter'), ['--rank=2', '--carry-rest'])
    expect(names(found.layers)).toEqual(names(plain.layers).map(inLanguageModel))
    expect(found.totals).toMatchObject({
      matched: 9,
      unmatched: 0,
      wholeRelativeError: plain.totals.wholeRelativeError,
    })
    expect(found.notCarried).toEqual([])
    // what PEFT reads is that of the model under its own names
    const files = ['plain', 'adapter'].map((name) =>
      readSafetensorsFile(join(at(name), 'adapter_model.safetensors')),
    )
    expect([...files[1]]).toEqual([...files[0]])
    const { code, stdout } = await verified('adapter', 'language', '--max-error=0.01')
    expect(code).toBe(0)
    expect(documentOf(stdout, 'verify-1')).toMatchObject({
      holds: true,
      totals: { matched: 9, unmatched: 0 },
    })
    const delta = await inspected('language')
    expect(delta.code).toBe(0)
    expect(documentOf(delta.stdout, 'inspect-1').totals).toMatchObject({ matched: 9, unmatched: 0 })
  })

  test('modules renamed in each layer: refused; with --allow-unpaired a part, and said so', async () => {
    await extracted(at('base'), at('tuned'), at('right'), ['--rank=2'])
    for (const args of [
      ['extract', 'base', 'query', '-o', 'none', '--rank=2'],
      ['inspect', 'query', '--base', 'base'],
      ['verify', 'right', 'base', 'query'],
    ]) {
      const { code, stderr } = await runInProcess(args, { cwd: folder })
      expect(code).toBe(2)
      expect(stderr).toMatch(
        /^lora-svd: query: 2 matrices with no counterpart by name in base, .* "model\.layers\.0\.self_attn\.query\.weight" here .*--allow-unpaired\n$/,
      )
    }
    const part = { matched: 7, unmatched: 4 }
    const found = await extracted(at('base'), at('query'), at('part'), ['--rank=2', '--allow-unpaired'], {
      code: 1,
    })
    expect(found).toMatchObject({ totals: part, holds: false, broken: [] })
    expect(found.totals.wholeRelativeError).toBeGreaterThan(0.5)
    expect(found.verdict).toContain('only 7 of 11 tensors (63.6 %) have their counterpart')
    const delta = await inspected('query', '--allow-unpaired')
    expect(delta.code).toBe(1)
    expect(documentOf(delta.stdout, 'inspect-1')).toMatchObject({
      totals: part,
      verdict: expect.stringMatching(/^This is not the whole change: only 7 of 11/),
    })
    const check = await verified('right', 'query', '--allow-unpaired', '--max-error=0.01')
    expect(check.code).toBe(1)
    expect(documentOf(check.stdout, 'verify-1')).toMatchObject({ totals: part, holds: false })
    const plan = await runInProcess(
      ['extract', 'base', 'query', '-o', 'x', '--rank=2', '--dry-run', '--allow-unpaired', '--json'],
      { cwd: folder },
    )
    expect([plan.code, documentOf(plan.stdout, 'extract-plan-1').totals]).toMatchObject([1, part])
    const shown = await runInProcess(
      ['verify', 'right', 'base', 'query', '--allow-unpaired', '--max-error=0.01'],
      {
        cwd: folder,
      },
    )
    expect(shown.stdout).toMatch(/Does not hold for the whole model: only 7 of 11 tensors/)
    expect(shown.stdout).not.toMatch(/Holds/)
  })
})

describe.concurrent('a head that the base hasn’t', () => {
  test.each([['--save-full=score'], ['--carry-rest']])(
    'with %s: stored whole, and nothing is missing',
    async (flag) => {
      const name = `headed${flag}`
      const { saved, totals, holds } = await extracted(at('base'), at('headed'), at(name), ['--rank=2', flag])
      expect(names(saved)).toContain('score.weight')
      expect(totals).toMatchObject({ matched: 10, unmatched: 0 })
      expect(holds).toBe(true)
      const stored = readSafetensorsFile(join(at(name), 'adapter_model.safetensors'))
      expect(stored.get('base_model.model.score.weight')?.shape).toEqual([3, 24])
      const { code, stdout } = await verified(name, 'headed', '--max-error=0.01')
      expect([code, documentOf(stdout, 'verify-1').totals.unmatched]).toEqual([0, 0])
    },
  )

  test('without: the exit code is 1', async () => {
    const { totals, notCarried } = await extracted(at('base'), at('headed'), at('headless'), ['--rank=2'], {
      code: 1,
    })
    expect(totals).toMatchObject({ matched: 9, unmatched: 1 })
    expect(names(notCarried)).toContain('score.weight')
  })
})

test('--include chooses what is factored, and hides nothing', async () => {
  const args = ['--rank=2', '--include=*q_proj*', '--save-full=model.norm']
  const found = await extracted(at('base'), at('tuned'), at('included'), args)
  expect(names(found.layers)).toEqual([0, 1].map((i) => `model.layers.${i}.self_attn.q_proj.weight`))
  expect(names(found.saved)).toEqual(['model.norm.weight'])
  const left = found.notCarried.filter(
    ({ reason }: { reason: string }) => reason === 'left out by --include/--exclude',
  )
  expect(names(left)).toEqual(
    [0, 1].flatMap((i) => [
      `model.layers.${i}.input_layernorm.weight`,
      `model.layers.${i}.mlp.up_proj.weight`,
    ]),
  )
  for (const { relativeChange } of left) expect(relativeChange).toBeGreaterThan(0)
  expect(found.totals.wholeRelativeError).toBeGreaterThan(0.1)
  const carried = await extracted(at('base'), at('tuned'), at('included-rest'), [
    '--rank=2',
    '--include=*q_proj*',
    '--carry-rest',
  ])
  expect([carried.saved.length, carried.notCarried]).toEqual([5, []])
})

test('NaN in a norm: inspect names it and ends with 1, of weights, of a delta and of a base', async () => {
  const bad = { name: 'model.norm.weight', file: 'nan', count: 2, first: { row: 1, column: 5, value: 'NaN' } }
  for (const args of [['nan'], ['nan', '--base', 'base'], ['tuned', '--base', 'nan']]) {
    const { code, stdout } = await runInProcess(['inspect', ...args, '--json'], { cwd: folder })
    expect([args, code, documentOf(stdout, 'inspect-1').nonFinite]).toEqual([args, 1, [bad]])
  }
})

test('weights that ZeRO-3 has left empty are refused', async () => {
  for (const args of [
    ['extract', 'base', 'zero3', '-o', 'none', '--rank=2'],
    ['inspect', 'zero3', '--base', 'base'],
    ['inspect', 'zero3'],
    ['inspect', 'tuned', '--base', 'zero3'],
  ]) {
    const { code, stderr } = await runInProcess(args, { cwd: folder })
    expect([args, code]).toEqual([args, 2])
    expect(stderr).toMatch(
      /^lora-svd: zero3: tensor "model\.layers\.\d\.mlp\.up_proj\.weight" is empty, of shape \[0\], as DeepSpeed ZeRO-3/,
    )
  }
})
