import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { f32, fileOf, folderOf, noise } from './checkpoints.ts'
import { runCli, runShell, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url))

/** All singular values of these take several seconds. */
const ORDER = 1600
const values = noise(ORDER * ORDER, 1)
const slow = fileOf(
  Object.fromEntries(['w0', 'w1', 'w2', 'w3'].map((name) => [name, f32([ORDER, ORDER], values)])),
)
const SLOW = [
  'inspect',
  'slow.safetensors',
  '--full',
  '--engine',
  'wasm',
  '--html',
  'out.html',
  '--csv',
  'out.csv',
]
/** By then the work has begun. */
const BEGUN = 700

describe.concurrent('an interruption', () => {
  test.for(['1', '2'])('SIGINT, %s threads: exit code 130, and nothing is left', async (threads) => {
    const cwd = folderOf({ 'slow.safetensors': slow })
    const kill = { signal: 'SIGINT', after: BEGUN } as const
    const result = await runCli([...SLOW, '--threads', threads, '--json'], { cwd, kill })
    const { code, signal, stdout, stderr } = result
    if (signal === null) {
      expect({ code, stderr }).toEqual({ code: 130, stderr: 'lora-svd: interrupted\n' })
      const { error } = documentOf(stdout, 'error-1')
      expect(error).toEqual({ code: 'interrupted', message: 'interrupted' })
    } else {
      // before the work began: shells call that 130 too
      expect(result).toEqual({ code: null, signal: 'SIGINT', stdout: '', stderr: '' })
    }
    expect(readdirSync(cwd)).toEqual(['slow.safetensors'])
  })

  test('SIGTERM ends it by the signal, and nothing is left', async () => {
    const cwd = folderOf({ 'slow.safetensors': slow })
    const kill = { signal: 'SIGTERM', after: BEGUN } as const
    const result = await runCli(SLOW, { cwd, kill })
    expect(result).toEqual({ code: null, signal: 'SIGTERM', stdout: '', stderr: '' })
    expect(readdirSync(cwd)).toEqual(['slow.safetensors'])
  })
})

const digits = (name: string) => fixture(`digits-llama/${name}`)
const DELTA = `inspect ${digits('tuned')} --base ${digits('base')}`

describe.concurrent('standard output', () => {
  test.for([
    ['head -n 1', DELTA],
    ['head -c 1', `${DELTA} --json`],
    ['true', `${DELTA} --plot 0.self_attn.q_proj`],
  ])('closed by %s: exit code 0 and silence', async ([reader, command]) => {
    const result = await runShell(`lora-svd ${command} | ${reader}; exit \${PIPESTATUS[0]}`)
    expect({ ...result, stdout: '' }).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
  })

  test('on a full disk: exit code 3', async () => {
    const { code, stderr } = await runShell(`ulimit -f 0; lora-svd ${DELTA} > out`, {
      cwd: temporaryFolder(),
    })
    expect(stderr).toBe(
      "lora-svd: standard output: can't write it: the file is larger than this file system or the process limit allows (EFBIG)\n",
    )
    expect(code).toBe(3)
  })

  test('is 80 columns wide in a pipe', async () => {
    const { stdout } = await runShell(`lora-svd ${DELTA}`)
    expect(widest(stdout)).toBe(80)
  })
})

const widest = (text: string) => Math.max(...text.split(/\r?\n/).map((line) => [...line].length))

/** util-linux's `script` gives a command a terminal. */
const hasScript = spawnSync('script', ['--version'], { encoding: 'utf8' }).stdout?.includes('util-linux')

/** What a terminal of so many columns gets of a shell command. */
async function onTerminal(command: string, columns: number, cwd: string): Promise<string> {
  const script = `run() { script -qec "stty cols ${columns}; $1" /dev/null; }
    tool="$(printf '%q ' ${JSON.stringify(process.execPath)} ${JSON.stringify(fileURLToPath(new URL('../../bin/lora-svd.js', import.meta.url)))})"
    run "$tool ${command}"`
  const { code, stdout } = await runShell(script, { cwd, env: { TERM: 'xterm-256color' } })
  expect(code).toBe(0)
  return stdout
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: what colours and clears on terminals
const plain = (text: string) => text.replace(/\u001b\[[\d;]*[mK]/g, '')

describe.runIf(hasScript).concurrent('on a terminal', () => {
  test('progress is on standard error, and gone at the end', async () => {
    const cwd = temporaryFolder()
    const shown = await onTerminal(`${DELTA} --full > report.txt`, 100, cwd)
    expect(plain(shown)).toMatch(/^inspecting 0\/\d+ +·+ +0 %/)
    expect(shown.endsWith('\r\u001b[K')).toBe(true)
    // what is drawn in one place never wraps
    for (const line of plain(shown).split('\r')) expect([...line].length).toBeLessThan(100)
    const report = readFileSync(join(cwd, 'report.txt'), 'utf8')
    expect(report).not.toContain('\u001b')
    const piped = await runShell(`lora-svd ${DELTA} --full`)
    expect(piped.stderr).toBe('')
    const timeless = (text: string) => text.replace(/[\d.]+ s\s+on\s+\S+( \+ \S+)?/, '')
    expect(timeless(report).replace(/\s+/g, ' ')).toBe(timeless(piped.stdout).replace(/\s+/g, ' '))
  })

  test('--quiet shows none', async () => {
    expect(await onTerminal(`${DELTA} --quiet`, 100, temporaryFolder())).toBe('')
  })

  test.for([80, 200])('of %i columns the report is as wide at most', async (columns) => {
    const shown = await onTerminal(`${DELTA} --plot 0.self_attn.q_proj`, columns, temporaryFolder())
    expect(shown).toContain('\u001b[')
    const report = plain(shown).replace(/^[^\n]*\r/, '')
    expect(widest(report)).toBeLessThanOrEqual(columns)
    expect(report.includes('not shown: ')).toBe(columns === 80)
    if (columns === 200) expect(report).toMatch(/^name +shape +dtype .* verdict\r?$/m)
  })
})

test('the examples of the help do what they say', async () => {
  const cwd = temporaryFolder()
  for (const [name, path] of [
    ['model', digits('tuned')],
    ['tuned', digits('tuned')],
    ['base', digits('base')],
  ] as const)
    symlinkSync(path, join(cwd, name))
  const { code } = await runCli(['extract', 'base', 'tuned', '-o', 'adapter', '--rank', '2'], { cwd })
  expect(code).toBe(0)
  // what the example of --join joins beside the example's own part
  for (const i of [1, 3, 4]) {
    const shard = ['inspect', 'tuned/', '--base', 'base/', '--shard', `${i}/4`, '-o', 'parts/']
    expect((await runCli(shard, { cwd })).code).toBe(0)
  }
  const { stdout: help } = await runCli(['inspect', '--help'])
  const examples = help.match(/^ {2}lora-svd inspect .*$/gm)?.map((line) => line.trim()) ?? []
  expect(examples.length).toBeGreaterThanOrEqual(5)
  const [joins, others] = [true, false].map((isJoin) =>
    examples.filter((example) => example.includes('--join') === isJoin),
  )
  const runAll = (lines: string[]) => Promise.all(lines.map((line) => runShell(line, { cwd })))
  const results = [...(await runAll(others)), ...(await runAll(joins))]
  for (const [i, { code, stdout, stderr }] of results.entries()) {
    // --emit has stdout for itself, here a file
    const example = [...others, ...joins][i]
    const report = example.includes('--emit') ? /^Ranks \d+ to \d+ in / : /^$/
    expect([example, code, stderr]).toEqual([example, 0, expect.stringMatching(report)])
    if (example.includes('--json')) expect(documentOf(stdout, 'inspect-1').matrices).toHaveLength(10)
    else if (!example.includes('--emit')) expect(stdout).toMatch(/^lora-svd inspect(: | --shard 2\/4: )/)
  }
  expect(JSON.parse(readFileSync(join(cwd, 'lora.json'), 'utf8'))).toHaveProperty('target_modules')
  expect(readdirSync(cwd)).toContain('report.html')
})
