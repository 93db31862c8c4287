import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { describe, expect, test } from 'vitest'
import { allFacts } from '../../src/lora/loaders/table.ts'
import { llamaAdapter, some, withEntry } from './check-support.ts'
import { runInProcess, temporaryFolder } from './run.ts'

const Q = 'base_model.model.model.layers.0.self_attn.q_proj'
const validate = new Ajv2020({ allErrors: true }).compile(
  JSON.parse(readFileSync(new URL('../fixtures/sarif-parts.json', import.meta.url), 'utf8')),
)
const withNaN = () =>
  llamaAdapter({ use_dora: true, target_modules: ['q_proj'] }, (tensors) => {
    tensors[`${Q}.lora_A.weight`] = withEntry(some(4, 16), Number.NaN)
  })

async function sarifOf(adapter: string, args: readonly string[] = []) {
  const file = join(temporaryFolder('sarif'), 'out.sarif')
  const { code } = await runInProcess(['check', adapter, '--sarif', file, '-q', ...args])
  const log = JSON.parse(readFileSync(file, 'utf8'))
  expect(validate(log) ? [] : validate.errors).toEqual([])
  return { run: log.runs[0], code }
}

describe('--sarif', () => {
  test('a log of one run, whose results name their rules', async () => {
    const { run, code } = await sarifOf(withNaN(), ['--for', 'all'])
    expect(code).toBe(1)
    const { rules } = run.tool.driver
    expect(new Set(rules.map(({ id }: { id: string }) => id)).size).toBe(rules.length)
    for (const { ruleId, ruleIndex } of run.results) expect(rules[ruleIndex].id).toBe(ruleId)
    const found = run.results.map(({ ruleId }: { ruleId: string }) => ruleId)
    for (const rule of ['not-finite', 'config-dora-without-magnitudes', 'vllm-dora', 'peft-not-targeted'])
      expect(found).toContain(rule)
  })

  test('a result with its file and its modules', async () => {
    const adapter = withNaN()
    const { run } = await sarifOf(adapter)
    const result = run.results.find(({ ruleId }: { ruleId: string }) => ruleId === 'not-finite')
    expect(result.level).toBe('error')
    const [{ physicalLocation, logicalLocations }] = result.locations
    expect(physicalLocation.artifactLocation.uri).toMatch(/^file:\/\/\/.*adapter_model\.safetensors$/)
    expect(logicalLocations).toEqual([{ fullyQualifiedName: `${Q}.lora_A.weight`, kind: 'module' }])
  })

  test('a path that is given from where the command runs stays so, percent-encoded', async () => {
    const cwd = join(llamaAdapter({ lora_alpha: 0 }), '..')
    await runInProcess(['check', 'adapter', '--sarif', 'a b.sarif', '-q'], { cwd })
    const log = JSON.parse(readFileSync(join(cwd, 'a b.sarif'), 'utf8'))
    const uris = log.runs[0].results.map(
      (result: { locations: { physicalLocation: { artifactLocation: { uri: string } } }[] }) =>
        result.locations[0].physicalLocation.artifactLocation.uri,
    )
    expect(new Set(uris)).toEqual(
      new Set(['adapter/adapter_config.json', 'adapter/adapter_model.safetensors']),
    )
  })

  test('of a good adapter there are rules and no errors', async () => {
    const { run, code } = await sarifOf(llamaAdapter())
    expect([code, run.results]).toEqual([0, []])
  })

  test('an existing file is kept, but for --force', async () => {
    const file = join(temporaryFolder('sarif'), 'mine.sarif')
    writeFileSync(file, 'mine')
    const args = ['check', llamaAdapter(), '--sarif', file, '-q']
    expect((await runInProcess(args)).code).toBe(2)
    expect(readFileSync(file, 'utf8')).toBe('mine')
    expect((await runInProcess([...args, '--force'])).code).toBe(0)
    expect(readFileSync(file, 'utf8')).not.toBe('mine')
  })
})

test('every fact of a loader has a name of its own, a source and its date', () => {
  const facts = allFacts()
  expect(new Set(facts.map(({ rule }) => rule)).size).toBe(facts.length)
  for (const { rule, source, date, text } of facts) {
    expect(rule).toMatch(/^[a-z0-9]+(-[a-z0-9]+)*$/)
    expect(source, rule).toMatch(/^[\w.-]+\/[\w.-]+: \S/)
    expect(date, rule).toMatch(/^(?:mid-\d{4}|\d{4}-\d{2}-\d{2})$/)
    expect(text, rule).not.toBe('')
  }
})

describe('in GitHub Actions', () => {
  test('findings are annotations on standard error, escaped as workflow commands want it', async () => {
    const path = llamaAdapter({ base_model_name_or_path: '/mnt/a,b:c%d' }, (tensors) => {
      tensors[`${Q}.lora_A.weight`] = withEntry(some(4, 16), Number.NaN)
    })
    const cwd = join(path, '..')
    const { stderr, stdout, code } = await runInProcess(['check', 'adapter', '--for', 'vllm', '-q'], {
      cwd,
      env: { GITHUB_ACTIONS: 'true' },
    })
    expect([stdout, code]).toEqual(['', 1])
    expect(stderr).toBe(
      '::error file=adapter/adapter_model.safetensors,title=not-finite::An entry is NaN or infinite. In ' +
        `${Q}.lora_A.weight. To do: take an earlier checkpoint of the training.\n` +
        '::notice file=adapter/adapter_config.json,title=config-base-local::base_model_name_or_path is "/mnt/a,b:c%25d", ' +
        'a path of one machine. To do: set it to the model’s name on the Hub.\n',
    )
  })

  test('of a loader too, and of nothing where all is well', async () => {
    const env = { GITHUB_ACTIONS: 'true' }
    const bad = await runInProcess(
      ['check', llamaAdapter({ use_rslora: true }), '--for', 'llama.cpp', '-q'],
      { env },
    )
    expect(bad.stderr).toMatch(
      /^::error file=[^:]*adapter_model\.safetensors,title=llama-cpp-scale::llama\.cpp scales the adapter wrongly: it scales .* by 1, where 2 is meant \(ggml-org\/llama\.cpp: src\/llama-adapter\.h, get_scale, 2026-09-28\)\.\n$/,
    )
    expect((await runInProcess(['check', llamaAdapter(), '-q'], { env })).stderr).toBe('')
    expect((await runInProcess(['check', llamaAdapter({ lora_alpha: 0 }), '-q'])).stderr).toBe('')
  })
})
