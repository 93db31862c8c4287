import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { frontMatterOf } from '../lora/card/read-card.ts'
import { f32, factorsOf, fileOf, folderOf } from './checkpoints.ts'
import { runInProcess, temporaryFolder } from './run.ts'

const digits = (name: string) => fileURLToPath(new URL(`../fixtures/digits-llama/${name}`, import.meta.url))

/** Base and fine-tune in a folder whose name no file may tell. */
function inputs() {
  const folder = join(temporaryFolder(), 'secret-place')
  mkdirSync(folder)
  for (const name of ['base', 'tuned']) cpSync(digits(name), join(folder, name), { recursive: true })
  const at = (name: string) => join(folder, name)
  return { folder, at }
}

async function run(...args: string[]): Promise<void> {
  const { code, stderr } = await runInProcess([...args, '-q'])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
}

/** All files below a folder, or the file itself. */
function filesOf(path: string): string[] {
  try {
    return readdirSync(path, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
  } catch {
    return [path]
  }
}

const cardIn = (folder: string) => readFileSync(join(folder, 'README.md'), 'utf8')
const configIn = (folder: string) => JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))

test('no file of any command that writes adapters or checkpoints tells where it was made', async () => {
  const { folder, at } = inputs()
  await run('extract', at('base'), at('tuned'), '-o', at('extracted'), '--rank', '8')
  // as PEFT leaves it where the base was loaded from a path of that machine
  const config = { ...configIn(at('extracted')), base_model_name_or_path: at('base') }
  cpSync(at('extracted'), at('trained'), { recursive: true })
  writeFileSync(join(at('trained'), 'adapter_config.json'), JSON.stringify(config))
  await run('resize', at('trained'), '-o', at('resized'), '--rank', '4', '--base', at('base'))
  await run('merge', at('trained'), at('resized'), '-o', at('merged'), '--rank', '6')
  await run('apply', at('base'), at('resized'), '-o', at('applied'))
  await run(
    'factor',
    join(at('base'), 'model.safetensors'),
    '--tensor',
    'lm_head.weight',
    '-o',
    at('lm_head.safetensors'),
    '--rank',
    '2',
  )
  for (const written of ['extracted', 'resized', 'merged', 'applied', 'lm_head.safetensors']) {
    for (const file of filesOf(at(written))) {
      const bytes = readFileSync(file)
      for (const place of [folder, 'secret-place']) expect(bytes.includes(place), file).toBe(false)
    }
  }
  expect(configIn(at('resized')).base_model_name_or_path).toBe('base')
  for (const written of ['extracted', 'resized', 'merged']) {
    const card = cardIn(at(written))
    expect(frontMatterOf(card)).toMatchObject({
      base_model_relation: 'adapter',
      library_name: 'peft',
      pipeline_tag: 'text-generation',
      tags: ['lora', 'lora-svd'],
    })
    expect(card).toContain('PeftModel.from_pretrained(base, "ADAPTER")')
    expect(card).toContain('AutoModelForCausalLM')
    expect(card).toMatch(/\(Frobenius\).*: +0\.\d{3,6}\n/)
    expect(card).not.toMatch(/\de[+-]0\d/)
  }
  expect(frontMatterOf(cardIn(at('applied')))).toMatchObject({
    base_model_relation: 'merge',
    pipeline_tag: 'text-generation',
  })
})

test('--base-name is what card and config call the base, in extract, resize and merge', async () => {
  const { at } = inputs()
  const named = ['--base-name', 'org/digits']
  await run('extract', at('base'), at('tuned'), '-o', at('extracted'), '--rank', '4', ...named)
  await run('extract', at('base'), at('tuned'), '-o', at('unnamed'), '--rank', '4')
  await run('resize', at('unnamed'), '-o', at('resized'), '--rank', '2', ...named)
  await run(
    'merge',
    at('unnamed'),
    at('resized'),
    '-o',
    at('merged'),
    '--rank',
    '3',
    '--base-name',
    'other/name',
  )
  for (const [written, name] of [
    ['extracted', 'org/digits'],
    ['resized', 'org/digits'],
    ['merged', 'other/name'],
  ]) {
    expect(frontMatterOf(cardIn(at(written)))).toMatchObject({ base_model: name })
    expect(configIn(at(written)).base_model_name_or_path).toBe(name)
    expect(cardIn(at(written))).toContain(`from_pretrained("${name}")`)
  }
})

test('a base in the Hub’s cache tells its name, also where it is named by its path', async () => {
  const { at } = inputs()
  const snapshot = at('hub/models--org--digits/snapshots/1')
  cpSync(at('base'), snapshot, { recursive: true })
  await run('extract', snapshot, at('tuned'), '-o', at('extracted'), '--rank', '4')
  expect(frontMatterOf(cardIn(at('extracted')))).toMatchObject({ base_model: 'org/digits' })
  const config = configIn(at('extracted'))
  expect(config.base_model_name_or_path).toBe('org/digits')
  writeFileSync(
    join(at('extracted'), 'adapter_config.json'),
    JSON.stringify({ ...config, base_model_name_or_path: null }),
  )
  await run('resize', at('extracted'), '-o', at('resized'), '--rank', '2', '--base', snapshot)
  expect(frontMatterOf(cardIn(at('resized')))).toMatchObject({ base_model: 'org/digits' })
})

test('the figures of a card are those of the report, and its bytes those that a dry run tells', async () => {
  const { at } = inputs()
  await run('extract', at('base'), at('tuned'), '-o', at('extracted'), '--rank', '8')
  const args = ['resize', at('extracted'), '-o', at('resized'), '--rank', '4', '--json']
  const plan = JSON.parse((await runInProcess([...args, '--dry-run'])).stdout)
  const done = JSON.parse((await runInProcess(args)).stdout)
  expect(plan.output.bytes).toBe(done.output.bytes)
  const [, error] = /measured on the stored factors: +(\S+)\n/.exec(cardIn(at('resized'))) ?? []
  expect(Number(error)).toBeCloseTo(done.totals.relativeError, 3)
})

test('a file of another format has no place for the base’s name', async () => {
  const stem = 'lora_unet_down_blocks_0_attn1_to_q'
  const { A, B } = factorsOf(16, 16, [2, 1])
  const cwd = folderOf({
    'kohya.safetensors': fileOf({
      [`${stem}.lora_down.weight`]: f32([2, 16], A),
      [`${stem}.lora_up.weight`]: f32([16, 2], B),
      [`${stem}.alpha`]: f32([], [2]),
    }),
  })
  const args = ['resize', 'kohya.safetensors', '-o', 'out.safetensors', '--rank', '1', '--base-name', 'org/x']
  for (const more of [[], ['--dry-run']]) {
    const { code, stderr } = await runInProcess([...args, ...more], { cwd })
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr:
        'lora-svd: --base-name: a file in the names of kohya has no place for it, which a PEFT folder has; leave it out\n',
    })
  }
  expect(readdirSync(cwd)).toEqual(['kohya.safetensors'])
})
