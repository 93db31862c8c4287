import { execFile, spawn } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { thisProcess } from '../../src/io/temporary.ts'
import {
  expectSameFiles,
  extracted,
  type NewModel,
  type NewTensor,
  tunedBy,
  weight,
  writeModel,
} from './extract-support.ts'
import { runInProcess, runShell, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

const repository = fileURLToPath(new URL('../..', import.meta.url))
const folder = temporaryFolder()
const at = (...names: string[]) => join(folder, ...names)

const before: Record<string, NewTensor> = {}
const after: Record<string, NewTensor> = {}
for (let i = 0; i < 4; i++) {
  const name = `model.layers.${i}.mlp.down_proj.weight`
  before[name] = weight([64, 80], i)
  after[name] = tunedBy(before[name], 12, 10 * i, 1e-3)
}
const base = writeModel(at('base'), before)
const tuned = writeModel(at('tuned'), after as NewModel)
const RULE = ['--rank=4', '--engine=wasm']
const reference = at('reference')
await extracted(base, tuned, reference, RULE)

/** A run that had done all layers when it could not write the adapter. */
const stopped = at('stopped')
{
  const args = ['extract', base, tuned, '-o', stopped, '-q', ...RULE].join(' ')
  const result = await runShell(`ulimit -f 9; lora-svd ${args}`)
  expect(result.stderr).toMatch(/EFBIG/)
  expect(result.code).toBe(3)
  expect(existsSync(stopped)).toBe(false)
}

/** Leaves such a run of `out`: nothing in it depends on its name. */
function unfinished(out: string): void {
  cpSync(`${stopped}.partial`, `${out}.partial`, { recursive: true })
  expect(layersIn(out)).toHaveLength(4)
}

const layersIn = (out: string) => readdirSync(`${out}.partial`).filter((name) => /^layer-\d+-1\./.test(name))

/** The output is the reference's, and nothing else of this name is left. */
function expectDone(out: string): void {
  expectSameFiles(out, reference)
  const name = out.slice(folder.length + 1)
  expect(readdirSync(folder).filter((entry) => entry.startsWith(name))).toEqual([name])
}

/** The folder is nobody's, and nothing in it is half written. */
function expectReleased(out: string): void {
  const names = readdirSync(`${out}.partial`)
  expect(names.filter((name) => name.endsWith('.tmp'))).toEqual([])
  expect(JSON.parse(readFileSync(join(`${out}.partial`, 'lock'), 'utf8')).released).toBe(true)
}

test('killed at random times and by file-size limits, it goes on and ends with the same bytes', async () => {
  const script = ['bench/kill-extract.mjs', '--kills=5', '--hidden=64', '--layers=2', '--rules=2']
  const { stdout } = await promisify(execFile)(process.execPath, script, { cwd: repository })
  expect(stdout).toMatch(/^5 kills .* over \d+ extractions?, and 3 file-size limits: every one ended with/)
})

describe.concurrent('an unfinished run', () => {
  test('goes on with what is done, and says so', async () => {
    const out = at('go-on')
    unfinished(out)
    const dry = await runInProcess(['extract', base, tuned, '-o', out, '--json', '--dry-run', ...RULE])
    expect(documentOf(dry.stdout, 'extract-plan-1').resumable).toBe(4)
    const { code, stdout, stderr } = await runInProcess([
      'extract',
      base,
      tuned,
      '-o',
      out,
      '--json',
      ...RULE,
    ])
    expect(stderr).toBe('lora-svd: going on with an unfinished run: 4 layers are done\n')
    expect(code).toBe(0)
    expect(documentOf(stdout, 'extract-1').resumed).toBe(4)
    expectDone(out)
  })

  test('computes only what is missing, and again what was half written', async () => {
    const out = at('half')
    unfinished(out)
    const [first, second] = layersIn(out).map((name) => join(`${out}.partial`, name))
    rmSync(first)
    renameSync(second, join(`${out}.partial`, `.lora-svd-${'0'.repeat(12)}-1234-5-0.tmp`))
    const { stdout } = await runInProcess(['extract', base, tuned, '-o', out, '--json', ...RULE])
    expect(documentOf(stdout, 'extract-1').resumed).toBe(2)
    expectDone(out)
  })

  test('of other options or changed inputs is refused by its cause; --restart starts anew', async () => {
    const out = at('other')
    const copy = at('tuned-copy')
    cpSync(tuned, copy, { recursive: true })
    const run = (...args: string[]) => runInProcess(['extract', base, copy, '-o', out, ...args])
    expect(
      (await runShell(`ulimit -f 9; lora-svd extract ${base} ${copy} -o ${out} -q ${RULE.join(' ')}`)).code,
    ).toBe(3)
    const options = await run('--rank=3', '--engine=wasm')
    expect([options.code, options.stderr]).toEqual([
      2,
      `lora-svd: ${out}.partial: holds an unfinished run with other options; give those to go on with it, or give --restart to start anew\n`,
    ])
    utimesSync(join(copy, 'model.safetensors'), 1, 1)
    const inputs = await run(...RULE)
    expect([inputs.code, inputs.stderr]).toEqual([
      2,
      `lora-svd: ${out}.partial: holds an unfinished run, but its inputs have changed since; give --restart to start anew\n`,
    ])
    // neither has lost what is done
    expect(layersIn(out)).toHaveLength(4)
    const anew = await run(...RULE, '--restart', '--json')
    expect([anew.code, anew.stderr]).toEqual([0, ''])
    expect(documentOf(anew.stdout, 'extract-1').resumed).toBe(0)
    expect(readdirSync(out)).toEqual(readdirSync(reference))
    expect(existsSync(`${out}.partial`)).toBe(false)
  })

  test('is another process’s as long as that lives; the lock of a dead one is taken over', async () => {
    const out = at('locked')
    unfinished(out)
    const other = spawn('sleep', ['60'])
    try {
      const stat = readFileSync(`/proc/${other.pid}/stat`, 'utf8')
      const started = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
      const owner = { ...thisProcess(), pid: other.pid, started, token: 'abcdef0123456789', released: false }
      writeFileSync(join(`${out}.partial`, 'lock'), JSON.stringify(owner))
      const result = await runInProcess(['extract', base, tuned, '-o', out, '-q', ...RULE])
      expect(result.code).toBe(2)
      expect(result.stderr).toBe(
        `lora-svd: ${out}.partial: process ${other.pid} is at work here; wait for it, or write to another --out (if that is no lora-svd, delete ${out}.partial/lock)\n`,
      )
      // even where it is asked to start anew
      expect((await runInProcess(['extract', base, tuned, '-o', out, '-q', '--restart', ...RULE])).code).toBe(
        2,
      )
      expect(layersIn(out)).toHaveLength(4)
    } finally {
      const gone = new Promise((done) => other.once('exit', done))
      other.kill('SIGKILL')
      await gone
    }
    expect((await runInProcess(['extract', base, tuned, '-o', out, '-q', ...RULE])).code).toBe(0)
    expectDone(out)
  })

  test('killed between the renaming and the tidying up: the same command still succeeds', async () => {
    const out = at('placed')
    unfinished(out)
    for (const name of readdirSync(`${out}.partial`)) {
      if (name.startsWith('adapter-')) rmSync(join(`${out}.partial`, name), { recursive: true })
    }
    cpSync(reference, out, { recursive: true })
    const inode = String(statSync(out, { bigint: true }).ino)
    writeFileSync(join(`${out}.partial`, 'placed.json'), JSON.stringify({ inode }))
    const result = await runInProcess(['extract', base, tuned, '-o', out, '-q', ...RULE])
    expect([result.code, result.stderr]).toEqual([0, ''])
    expectDone(out)
  })

  test('killed amid the renaming of --force: what was replaced is gone, what is new is whole', async () => {
    const out = at('replaced')
    unfinished(out)
    cpSync(reference, join(`${out}.partial`, 'replaced-abcdef0123456789'), { recursive: true })
    const result = await runInProcess(['extract', base, tuned, '-o', out, '-q', '--force', ...RULE])
    expect([result.code, result.stderr]).toEqual([0, ''])
    expectDone(out)
  })

  test('does not make an output that someone else put there its own', async () => {
    const out = at('foreign')
    unfinished(out)
    mkdirSync(out)
    writeFileSync(join(out, 'notes.txt'), 'mine')
    const result = await runInProcess(['extract', base, tuned, '-o', out, '-q', ...RULE])
    expect([result.code, result.stderr]).toEqual([
      2,
      `lora-svd: ${out}: exists already; add --force to replace it\n`,
    ])
    expect(readFileSync(join(out, 'notes.txt'), 'utf8')).toBe('mine')
  })
})

describe.concurrent('interrupted', () => {
  const pair = at('slow')
  const script = ['bench/tinyllama-pair.mjs', pair, '--hidden=256', '--layers=2']
  const made = promisify(execFile)(process.execPath, script, { cwd: repository })

  /** Waits for the first layer of a run, then sends the signal. */
  async function interruptedBy(signal: NodeJS.Signals, out: string) {
    await made
    const args = ['extract', join(pair, 'base'), join(pair, 'tuned'), '-o', out, '--rank=16', '--engine=wasm']
    const child = spawn(process.execPath, [join(repository, 'bin/lora-svd.js'), ...args, '--json'])
    let [stdout, stderr] = ['', '']
    child.stdout.on('data', (part) => {
      stdout += part
    })
    child.stderr.on('data', (part) => {
      stderr += part
    })
    const ended = new Promise<{ code: number | null; signal: string | null }>((done) =>
      child.once('close', (code, by) => done({ code, signal: by })),
    )
    while (!existsSync(`${out}.partial`) || layersIn(out).length === 0) {
      await new Promise((next) => setTimeout(next, 5))
    }
    child.kill(signal)
    return { ...(await ended), stdout, stderr, args }
  }

  test('SIGINT: 130, how to go on, and it does', async () => {
    const out = at('interrupted')
    const { code, stdout, stderr, args } = await interruptedBy('SIGINT', out)
    const message = `interrupted; what is done is kept in ${out}.partial: the same command goes on from there`
    expect(stderr).toBe(`lora-svd: ${message}\n`)
    expect(code).toBe(130)
    expect(documentOf(stdout, 'error-1').error).toEqual({ code: 'interrupted', message })
    expect(existsSync(out)).toBe(false)
    expectReleased(out)
    const result = await runInProcess([...args, '--json'])
    expect(result.code).toBe(0)
    expect(documentOf(result.stdout, 'extract-1').resumed).toBeGreaterThan(0)
    expect(existsSync(`${out}.partial`)).toBe(false)
  })

  test('SIGTERM: ends by it, and keeps what is done', async () => {
    const out = at('terminated')
    const { signal } = await interruptedBy('SIGTERM', out)
    expect(signal).toBe('SIGTERM')
    expect(existsSync(out)).toBe(false)
    expect(layersIn(out).length).toBeGreaterThan(0)
    expectReleased(out)
  })
})
