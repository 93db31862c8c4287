import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { llamaAdapter, some, withEntry } from './cli/check-support.ts'
import { runShell } from './cli/run.ts'
import { parsePlainYaml } from './plain-yaml.ts'
import { temporaryFolder } from './temporary.ts'

interface Step {
  readonly name: string
  readonly shell: string
  readonly env: Readonly<Record<string, string>>
  readonly run: string
}
interface Action {
  readonly inputs: Readonly<Record<string, { readonly description: string; readonly default?: string }>>
  readonly runs: { readonly using: string; readonly steps: readonly Step[] }
}
const action = parsePlainYaml(readFileSync('action.yml', 'utf8')) as unknown as Action

/** A project on a runner: the packed package as npm installs it, with its command, and nothing else. */
const project = temporaryFolder('action')
beforeAll(() => {
  const modules = join(project, 'node_modules')
  mkdirSync(join(modules, 'lora-svd'), { recursive: true })
  mkdirSync(join(modules, '.bin'))
  execFileSync('npm', ['pack', '--ignore-scripts', '--pack-destination', project], { stdio: 'ignore' })
  const tarball = readdirSync(project).find((name) => name.endsWith('.tgz'))!
  execFileSync('tar', [
    '-xzf',
    join(project, tarball),
    '--strip-components=1',
    '-C',
    join(modules, 'lora-svd'),
  ])
  symlinkSync('../lora-svd/bin/lora-svd.js', join(modules, '.bin', 'lora-svd'))
  const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8'))
  for (const name of Object.keys(dependencies)) {
    symlinkSync(resolve('node_modules', name), join(modules, name))
  }
})

/** A step's variables, with the inputs that a workflow gives put in, as the runner does. */
function variables({ env }: Step, given: Readonly<Record<string, string>>): Record<string, string> {
  for (const name of Object.keys(given)) expect(Object.keys(action.inputs)).toContain(name)
  const inputs = Object.fromEntries(
    Object.entries(action.inputs).map(([name, input]) => [name, given[name] ?? input.default ?? '']),
  )
  return Object.fromEntries(
    Object.entries(env).map(([name, text]) => [
      name,
      text.replace(/\$\{\{ inputs\.([\w-]+) \}\}/g, (_, input: string) => inputs[input]),
    ]),
  )
}

/** Runs the action's steps in the project, as the runner does: each in bash with -e and pipefail. */
async function runAction(given: Readonly<Record<string, string>>) {
  let result = { code: 0 as number | null, stdout: '', stderr: '' }
  for (const step of action.runs.steps) {
    expect(step.shell).toBe('bash')
    const env = {
      ...variables(step, given),
      ...{
        GITHUB_ACTIONS: 'true',
        HOME: project,
        npm_config_offline: 'true',
        npm_config_update_notifier: 'false',
      },
    }
    result = await runShell(`set -eo pipefail\n${step.run}`, { cwd: project, env })
    if (result.code !== 0) break
  }
  return result
}

const adapter = (name: string, path: string) => cpSync(path, join(project, name), { recursive: true })
const Q = 'base_model.model.model.layers.0.self_attn.q_proj'

describe('action.yml', () => {
  test('is a composite action whose inputs are all used', () => {
    expect(action.runs.using).toBe('composite')
    const used = action.runs.steps.flatMap(({ env }) =>
      Object.values(env).map((text) => /inputs\.([\w-]+)/.exec(text)![1]),
    )
    expect(used.sort()).toEqual(Object.keys(action.inputs).sort())
    // an input that stood in a script would be run as one
    for (const { run } of action.runs.steps) expect(run).not.toContain('${{')
  })

  test('a good adapter passes', async () => {
    adapter('good', llamaAdapter())
    const { code, stdout, stderr } = await runAction({ adapter: 'good' })
    expect([stderr, code]).toEqual(['', 0])
    expect(stdout).toContain('lora-svd check: good')
  })

  test('a bad one fails, with annotations and SARIF', async () => {
    adapter(
      'bad adapter',
      llamaAdapter({}, (tensors) => {
        tensors[`${Q}.lora_B.weight`] = withEntry(some(16, 4), Number.NaN)
      }),
    )
    const given = {
      ...{ adapter: 'bad adapter', for: 'vllm,llama.cpp', 'max-rank': '2', sarif: 'out.sarif' },
    }
    const { code, stderr } = await runAction(given)
    expect(code).toBe(1)
    const file = 'bad adapter/adapter_model.safetensors'
    expect(stderr.split('\n').map((line) => line.split('::')[1])).toEqual([
      `error file=${file},title=rank-above-limit`,
      `error file=${file},title=not-finite`,
      undefined,
    ])
    const { runs } = JSON.parse(readFileSync(join(project, 'out.sarif'), 'utf8'))
    expect(runs[0].results.map(({ ruleId }: { ruleId: string }) => ruleId)).toEqual([
      'rank-above-limit',
      'not-finite',
    ])
  })

  test('a path with what a shell would run is a path', async () => {
    const { code, stderr } = await runAction({ adapter: '--help; touch "$HOME/ran"' })
    expect(code).toBe(2)
    expect(stderr).toMatch(/no such file/)
    expect(readdirSync(project)).not.toContain('ran')
  })
})
