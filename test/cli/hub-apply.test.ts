import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, beforeEach, expect, test } from 'vitest'
import { apply } from '../../src/commands/apply/apply.ts'
import { withPatience } from '../../src/io/remote/network.ts'
import type { ProgressEvent } from '../../src/jobs/context.ts'
import { hasty, type LoopbackHub, loopbackHub } from '../io/loopback-hub.ts'
import { applied } from './apply-support.ts'
import { bf16, f32, factorsOf, fileOf, folderOf, type Tensor } from './checkpoints.ts'
import { BASE, extracted, numbers, TUNED } from './extract-support.ts'
import { type InProcessOptions, runInProcess, temporaryFolder } from './run.ts'
import { documentOf, type SchemaName } from './schema.ts'

/** Bases of `apply` that lie elsewhere, read from a server on this machine that speaks as the Hub does. */

const COMMIT = 'a'.repeat(40)
const folder = temporaryFolder('hub-apply')
const at = (name: string) => join(folder, name)
const adapter = at('adapter')
const reference = at('reference')
const filesOf = (path: string) =>
  Object.fromEntries(readdirSync(path).map((name) => [name, new Uint8Array(readFileSync(join(path, name)))]))

const hub: LoopbackHub = await loopbackHub({})
const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: temporaryFolder('hf-home') }
const weights = filesOf(BASE)

beforeAll(async () => {
  await extracted(BASE, TUNED, adapter, ['--rank', '4'])
  await applied([BASE, adapter, '-o', reference])
})

beforeEach(() => {
  hub.repositories['org/base'] = { commit: COMMIT, files: { ...weights, 'added_tokens.json': '' } }
  hub.requests.length = 0
  hub.sent = 0
  hub.fault = () => undefined
})

const run = (args: readonly string[], options: InProcessOptions = {}) =>
  withPatience(hasty(), () => runInProcess(args, { env, ...options }))

async function document(args: readonly string[], name: SchemaName = 'apply-1') {
  const { code, stdout, stderr } = await run(['apply', ...args, '--json'])
  expect([code, stderr]).toEqual([0, ''])
  return documentOf(stdout, name)
}

/** All files are those of the reference, but for the card, which names the base, and the tokens that only the Hub's has. */
function expectSame(out: string): void {
  const names = (path: string) => readdirSync(path).filter((name) => name !== 'added_tokens.json')
  expect(names(out)).toEqual(names(reference))
  for (const name of names(reference)) {
    if (name === 'README.md') continue
    expect(readFileSync(join(out, name)).equals(readFileSync(join(reference, name))), name).toBe(true)
  }
  expect(readFileSync(join(out, 'README.md'), 'utf8')).toContain('`org/base` with 1 adapter')
}

test('a repository is merged to the same bytes as a folder, with all that lies beside its weights', async () => {
  const out = at('hub')
  const plan = await document(['hf://org/base', adapter, '-o', out, '--dry-run'])
  expect(existsSync(out)).toBe(false)
  const { source, output, totals } = await document(['hf://org/base', adapter, '-o', out])
  expect(source.base).toBe(`hf://org/base@${COMMIT}`)
  const here = await document([BASE, adapter, '-o', at('here')])
  expect(totals).toEqual(here.totals)
  expectSame(out)
  expect(readFileSync(join(out, 'added_tokens.json'), 'utf8')).toBe('')
  const bytes = (files: { name: string; bytes: number }[]) =>
    Object.fromEntries(files.map(({ name, bytes }) => [name, bytes]))
  const { 'README.md': card, ...written } = bytes(output.files)
  expect(card).toBeGreaterThan(0)
  expect(bytes(plan.output.files)).toEqual(written)
  const read = hub.requests.filter(({ path }) => /README|gitattributes/.test(path))
  expect(read).toEqual([])
  // lists, headers, what lies beside, and all small tensors at once
  expect(hub.requests.length).toBeLessThan(40)
})

test('each tensor is read once, and how many bytes that will be is known', async () => {
  const [rows, columns] = [2048, 512]
  const name = 'model.layers.0.self_attn.q_proj.weight'
  const W: Tensor = bf16([rows, columns], numbers(rows * columns, 1))
  hub.repositories['org/one'] = {
    commit: COMMIT,
    files: { 'config.json': '{}', 'model.safetensors': fileOf({ [name]: W, 'other.weight': W }) },
  }
  const { A, B } = factorsOf(rows, columns, [1])
  const stem = 'base_model.model.model.layers.0.self_attn.q_proj'
  const one = folderOf({
    'adapter_config.json': JSON.stringify({
      peft_type: 'LORA',
      r: 1,
      lora_alpha: 1,
      target_modules: ['q_proj'],
    }),
    'adapter_model.safetensors': fileOf({
      [`${stem}.lora_A.weight`]: f32([1, columns], A),
      [`${stem}.lora_B.weight`]: f32([rows, 1], B),
    }),
  })
  const events: ProgressEvent[] = []
  const options = { base: 'hf://org/one', adapters: [one], out: at('counted'), env }
  await withPatience(hasty(), () =>
    apply({ ...options, onProgress: (event: ProgressEvent) => void events.push(event) }),
  )
  const of = (phase: string) => events.filter((event) => event.phase === phase)
  const { received, total } = of('applying').at(-1)!
  expect(total).toBe(2 * 2 * rows * columns)
  expect(received).toEqual({ bytes: total, expected: total })
})

test('what was cut short goes on where it was', async () => {
  const out = at('resumed')
  const controller = new AbortController()
  const options = { base: 'hf://org/base', adapters: [adapter], out, env, signal: controller.signal }
  const events: ProgressEvent[] = []
  const cut = withPatience(hasty(), () =>
    apply({
      ...options,
      onProgress: (event) => {
        events.push(event)
        if (event.phase === 'applying' && event.kind === 'done' && event.done === 12) controller.abort()
      },
    }),
  )
  await expect(cut).rejects.toMatchObject({ code: 'interrupted' })
  hub.requests.length = 0
  const { code, stdout } = await run(['apply', 'hf://org/base', adapter, '-o', out, '--json'])
  expect(code).toBe(0)
  expect(documentOf(stdout, 'apply-1').resumed).toBeGreaterThanOrEqual(11)
  expectSame(out)
})

test('of another commit nothing is gone on with', async () => {
  const out = at('moved')
  const controller = new AbortController()
  const cut = withPatience(hasty(), () =>
    apply({
      ...{ base: 'hf://org/base', adapters: [adapter], out, env, signal: controller.signal },
      onProgress: ({ phase, kind, done }) => {
        if (phase === 'applying' && kind === 'done' && done === 3) controller.abort()
      },
    }),
  )
  await expect(cut).rejects.toMatchObject({ code: 'interrupted' })
  hub.repositories['org/base'] = { ...hub.repositories['org/base'], commit: 'b'.repeat(40) }
  const { code, stderr } = await run(['apply', 'hf://org/base', adapter, '-o', out])
  expect([code, stderr]).toEqual([
    2,
    `lora-svd: ${out}.partial: holds an unfinished run, but its inputs have changed since; give --restart to start anew\n`,
  ])
  rmSync(`${out}.partial`, { recursive: true })
})

test('with --cache, by sources of other types, and of a single file', async () => {
  const cached = { env: { ...env, HF_HOME: temporaryFolder('hf-home') } }
  expect(
    (await run(['apply', 'hf://org/base', adapter, '-o', at('cached'), '-q', '--cache'], cached)).code,
  ).toBe(0)
  expectSame(at('cached'))
  hub.requests.length = 0
  expect(
    (await run(['apply', 'hf://org/base', adapter, '-o', at('again'), '-q', '--cache'], cached)).code,
  ).toBe(0)
  expect(hub.requests.map(({ path }) => path)).toEqual(['/api/models/org/base/revision/main'])
  expectSame(at('again'))

  const converted = ['--dtype', 'bf16']
  await document(['hf://org/base', adapter, '-o', at('bf16'), ...converted])
  await applied([BASE, adapter, '-o', at('bf16-here'), ...converted])
  const bytesOf = (name: string) => readFileSync(at(name))
  expect(bytesOf('bf16/model.safetensors').equals(bytesOf('bf16-here/model.safetensors'))).toBe(true)

  hub.loose['model.safetensors'] = weights['model.safetensors']
  await applied([join(BASE, 'model.safetensors'), adapter, '-o', at('one.safetensors')])
  for (const [name, base] of [
    ['hub.safetensors', 'hf://org/base/model.safetensors'],
    ['web.safetensors', `${hub.cdn}/model.safetensors`],
  ]) {
    await document([base, adapter, '-o', at(name)])
    expect(bytesOf(name).equals(bytesOf('one.safetensors'))).toBe(true)
  }
})

test('names in the list that can be of no file here are told and left out', async () => {
  const odd = ['../../out', 'a/../b', 'back\\slash.json', 'a//b', 'nul\0', 'line\nbreak']
  const { files } = hub.repositories['org/base']
  const more = Object.fromEntries(odd.map((name) => [name, '{}']))
  hub.repositories['org/base'] = { commit: COMMIT, files: { ...files, ...more } }
  const out = at('odd')
  const { code, stderr } = await run(['apply', 'hf://org/base', adapter, '-o', out])
  expect([code, stderr]).toEqual([
    0,
    expect.stringContaining(
      'hf://org/base: 6 names in its list can\'t be of files here, and nothing is read of them: "../../out"',
    ),
  ])
  expectSame(out)
  expect(existsSync(join(out, '..', '..', 'out'))).toBe(false)
})

test('base and adapter may both be on the Hub', async () => {
  hub.repositories['org/adapter'] = { commit: COMMIT, files: filesOf(adapter) }
  await document(['hf://org/base', 'hf://org/adapter', '-o', at('both')])
  const model = (name: string) => readFileSync(join(at(name), 'model.safetensors'))
  expect(model('both').equals(readFileSync(join(reference, 'model.safetensors')))).toBe(true)
})

test('an index that lies at another server is refused: nobody lists what is beside it', async () => {
  hub.loose['model.safetensors.index.json'] = JSON.stringify({
    weight_map: Object.fromEntries([['lm_head.weight', 'model.safetensors']]),
  })
  hub.loose['model.safetensors'] = weights['model.safetensors']
  const { code, stderr } = await run([
    'apply',
    `${hub.cdn}/model.safetensors.index.json`,
    adapter,
    '-o',
    at('nowhere'),
  ])
  expect(code).toBe(2)
  expect(stderr).toMatch(/^lora-svd: [^\n]*no list of them can be had over https[^\n]*\n$/)
  expect(existsSync(at('nowhere'))).toBe(false)
})
