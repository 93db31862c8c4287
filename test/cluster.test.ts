import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { expectSameFiles, extracted, tunedBy, weight, writeModel } from './cli/extract-support.ts'
import { runInProcess, runShell } from './cli/run.ts'
import { parsePlainYaml, type Yaml } from './plain-yaml.ts'
import { temporaryFolder } from './temporary.ts'

const page = readFileSync('docs/cluster.md', 'utf8')

/** The blocks of code in a section of the page, in their order. */
function blocksOf(section: string, language: string): string[] {
  const text = page.split(/^## /m).find((part) => part.startsWith(`${section}\n`))!
  return [...text.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)]
    .filter(([, is]) => is === language)
    .map(([, , block]) => block)
}

const names = Array.from({ length: 4 }, (_, i) => `model.layers.${i}.mlp.down_proj.weight`)
const before = Object.fromEntries(names.map((name, i) => [name, weight([40, 24], i)]))
const after = Object.fromEntries(names.map((name, i) => [name, tunedBy(before[name], 20, i)]))

/** A place with both models under the names that the page has for them. */
function place(): string {
  const folder = temporaryFolder('cluster')
  writeModel(join(folder, 'base'), before)
  writeModel(join(folder, 'tuned'), after)
  return folder
}

const whole = place()
beforeAll(async () => {
  await extracted('base', 'tuned', 'adapter', ['--rank=16', '--engine=wasm'], { cwd: whole })
}, 60_000)
const expectWhole = (cwd: string) => {
  expectSameFiles(join(cwd, 'adapter'), join(whole, 'adapter'))
  expect(existsSync(join(cwd, 'adapter.partial'))).toBe(false)
}

/** In place of the command: what a shell would give it, each argument with a NUL after it. */
const ECHO = `lora-svd() { printf '%s\\0' "$@"; }; npx() { [ "$1 $2" = "--yes lora-svd" ] && lora-svd "\${@:3}"; }`

/** Runs a script of the page: a real shell makes the command's arguments of it, by these variables. */
async function run(script: string, cwd: string, env: Readonly<Record<string, string>> = {}) {
  const shell = await runShell(`${ECHO}\n${script}`, { env })
  expect(shell).toMatchObject({ code: 0, stderr: '' })
  const { code, stderr } = await runInProcess(shell.stdout.split('\0').slice(0, -1), { cwd, env })
  expect([code, stderr]).toEqual([0, ''])
}

/** The value at a path of names and indices. */
const at = (yaml: Yaml, ...path: (string | number)[]): Yaml =>
  path.reduce<Yaml>((value, key) => (value as Record<string | number, Yaml>)[key], yaml)

describe.concurrent('docs/cluster.md', () => {
  test('Slurm: an array, then the join', async () => {
    const cwd = place()
    const [shard, joined] = blocksOf('Slurm', 'sh')
    const [, first, last] = /^#SBATCH --array=(\d+)-(\d+)$/m.exec(shard)!
    const ids = Array.from({ length: Number(last) - Number(first) + 1 }, (_, i) => Number(first) + i)
    expect(ids).toEqual([1, 2, 3, 4])
    const array = (id: number, count: number, min: number) => ({
      SLURM_ARRAY_TASK_ID: String(id),
      SLURM_ARRAY_TASK_COUNT: String(count),
      SLURM_ARRAY_TASK_MIN: String(min),
      SLURM_ARRAY_TASK_MAX: '4',
      SLURM_ARRAY_TASK_STEP: '1',
      SLURM_CPUS_PER_TASK: '1',
    })
    // the third by itself, as it is given again
    await Promise.all(ids.map((id) => run(shard, cwd, id === 3 ? array(3, 1, 3) : array(id, 4, 1))))
    await run(joined, cwd)
    expectWhole(cwd)
  })

  test('inspect and verify: an array each, then the reports', async () => {
    const cwd = place()
    cpSync(join(whole, 'adapter'), join(cwd, 'adapter'), { recursive: true })
    const [inspect, verify, joined] = blocksOf('inspect and verify', 'sh')
    for (const script of [inspect, verify]) {
      for (const id of ['1', '2', '3', '4']) await run(script, cwd, { SLURM_ARRAY_TASK_ID: id })
    }
    for (const line of joined.trim().split('\n')) await run(line, cwd)
    expect(readdirSync(cwd).sort()).toEqual(['adapter', 'base', 'measured', 'parts', 'report.html', 'tuned'])
    const names_ = [1, 2, 3, 4].map((index) => `shard-${index}-of-4.json`)
    expect([readdirSync(join(cwd, 'parts')), readdirSync(join(cwd, 'measured'))]).toEqual([names_, names_])
  })

  test('Kubernetes: an Indexed Job, then the join', async () => {
    const cwd = place()
    const [job, joined] = blocksOf('Kubernetes', 'yaml').map(parsePlainYaml)
    expect(at(job, 'spec', 'completionMode')).toBe('Indexed')
    const completions = Number(at(job, 'spec', 'completions'))
    const commandOf = (yaml: Yaml, index?: number) => {
      const container = at(yaml, 'spec', 'template', 'spec', 'containers', 0)
      const env = (at(container, 'env') as { name: string; value: string }[]).map(({ name, value }) => [
        name,
        value,
      ])
      const [shell, flag, script] = at(container, 'command') as string[]
      expect([shell, flag]).toEqual(['bash', '-c'])
      return run(script, cwd, {
        ...Object.fromEntries(env),
        ...(index !== undefined && { JOB_COMPLETION_INDEX: String(index) }),
      })
    }
    await Promise.all(Array.from({ length: completions }, (_, index) => commandOf(job, index)))
    await commandOf(joined)
    expectWhole(cwd)
  })

  test('GitHub Actions: a matrix on runners that share nothing, then the join', async () => {
    const [workflow] = blocksOf('GitHub Actions', 'yaml').map(parsePlainYaml)
    const stepsOf = (job: string) => at(workflow, 'jobs', job, 'steps') as Record<string, string>[]
    const scriptOf = (job: string) => stepsOf(job).find(({ run }) => run?.includes('lora-svd'))!.run
    const shards = at(workflow, 'jobs', 'shard', 'strategy', 'matrix', 'shard') as string[]
    const last = place()
    mkdirSync(join(last, 'parts'))
    await Promise.all(
      shards.map(async (shard) => {
        const runner = place()
        await run(scriptOf('shard').replace(/\$\{\{ matrix\.shard \}\}/g, shard), runner)
        // upload-artifact keeps what is in its path; all of it comes together where artifacts are merged
        const path = at(stepsOf('shard').at(-1)!, 'with', 'path') as string
        for (const name of readdirSync(join(runner, path))) {
          cpSync(join(runner, path, name), join(last, 'parts', name), { recursive: true })
        }
      }),
    )
    await run(scriptOf('join'), last)
    expectWhole(last)
  })
})
