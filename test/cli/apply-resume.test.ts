import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { apply } from '../../src/commands/apply/apply.ts'
import { LoraSvdError } from '../../src/errors.ts'
import { thisProcess } from '../../src/io/temporary.ts'
import { applied } from './apply-support.ts'
import { BASE, expectSameFiles, extracted, TUNED } from './extract-support.ts'
import { runInProcess, runShell, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

const folder = temporaryFolder('apply-resume')
const at = (name: string) => join(folder, name)
const adapter = at('adapter')
const reference = at('reference')
/** The changed tensors of the digits model, and the runs of those that are copied. */
let pieces = 0

beforeAll(async () => {
  await extracted(BASE, TUNED, adapter, ['--rank', '8'])
  await applied([BASE, adapter, '-o', reference])
})

/** Applies, and interrupts it once so many pieces are written. */
async function interrupted(out: string, after: number): Promise<void> {
  const controller = new AbortController()
  const error = await apply({
    ...{ base: BASE, adapters: [adapter], out, signal: controller.signal },
    onProgress: ({ kind, phase, done, items }) => {
      if (phase === 'applying') pieces = items
      if (phase === 'applying' && kind === 'done' && done === after) controller.abort()
    },
  }).catch((error: unknown) => error)
  expect(error).toBeInstanceOf(LoraSvdError)
  expect((error as LoraSvdError).code).toBe('interrupted')
  expect((error as LoraSvdError).message).toContain(`what is done is kept in ${out}.partial`)
}

const journal = (out: string) =>
  readFileSync(join(`${out}.partial`, 'done.jsonl'), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
const staged = (out: string) => join(`${out}.partial`, 'whole', 'model.safetensors')

const run = (out: string, ...args: string[]) =>
  runInProcess(['apply', BASE, adapter, '-o', out, '--json', ...args])

function expectDone(out: string): void {
  expectSameFiles(out, reference)
  expect(readdirSync(folder).filter((name) => name.startsWith(`${out.split('/').at(-1)}.`))).toEqual([])
}

describe('a merge that was cut short', () => {
  test('goes on where it was, and ends with the same bytes', async () => {
    const out = at('half')
    await interrupted(out, 9)
    expect(existsSync(out)).toBe(false)
    const done = journal(out).length
    expect(done).toBeGreaterThanOrEqual(8)
    expect(done).toBeLessThan(pieces)
    const { code, stdout, stderr } = await run(out)
    expect(stderr).toBe(`lora-svd: going on with an unfinished run: ${done} of ${pieces} pieces are done\n`)
    expect(code).toBe(0)
    expect(documentOf(stdout, 'apply-1').resumed).toBe(done)
    expectDone(out)
  })

  test('measures the pieces that were done before as if it had made them', async () => {
    const out = at('measures')
    await interrupted(out, 15)
    const resumed = documentOf((await run(out)).stdout, 'apply-1')
    const whole = documentOf((await run(at('whole'))).stdout, 'apply-1')
    expect([resumed.layers, resumed.totals]).toEqual([whole.layers, whole.totals])
  })

  test('what is on the disk is believed only where its checksum holds', async () => {
    const out = at('damaged')
    await interrupted(out, 12)
    const done = journal(out).length
    const bytes = readFileSync(staged(out))
    // in the middle of the first tensors, which are done
    const data = 8 + Number(bytes.readBigUInt64LE(0))
    bytes[data + 1000] ^= 1
    writeFileSync(staged(out), bytes)
    const { stderr, code } = await run(out)
    expect(code).toBe(0)
    expect(stderr).toContain(`${done - 1} of ${pieces} pieces are done`)
    expect(stderr).toContain('1 pieces are not what a run of this wrote, computed again')
    expectDone(out)
  })

  test('a line that was cut, or is another run’s, counts for nothing', async () => {
    const out = at('torn')
    await interrupted(out, 12)
    const lines = journal(out)
    const foreign = lines[1].replace(/"content":\[\d+/, '"content":[3')
    writeFileSync(
      join(`${out}.partial`, 'done.jsonl'),
      `${[lines[0], foreign, ...lines.slice(2, -1)].join('\n')}\n${lines.at(-1)!.slice(0, 20)}`,
    )
    const { stdout, code } = await run(out)
    expect(code).toBe(0)
    expect(documentOf(stdout, 'apply-1').resumed).toBe(lines.length - 2)
    expectDone(out)
  })

  test('of other options or inputs is refused; --restart starts anew', async () => {
    const out = at('other')
    await interrupted(out, 6)
    const other = await run(out, '--weights=0.5')
    expect([other.code, other.stderr]).toEqual([
      2,
      `lora-svd: ${out}.partial: holds an unfinished run with other options; give those to go on with it, or give --restart to start anew\n`,
    ])
    const anew = await run(out, '--weights=0.5', '--restart')
    expect([anew.code, anew.stderr]).toEqual([0, ''])
    expect(documentOf(anew.stdout, 'apply-1').resumed).toBe(0)
    expect(existsSync(`${out}.partial`)).toBe(false)
  })

  test('is another process’s as long as that lives', async () => {
    const out = at('locked')
    await interrupted(out, 6)
    const other = spawn('sleep', ['60'])
    try {
      const stat = readFileSync(`/proc/${other.pid}/stat`, 'utf8')
      const started = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
      const owner = { ...thisProcess(), pid: other.pid, started, token: 'abcdef0123456789', released: false }
      writeFileSync(join(`${out}.partial`, 'lock'), JSON.stringify(owner))
      const { code, stderr } = await run(out)
      expect(code).toBe(2)
      expect(stderr).toContain('another')
    } finally {
      other.kill('SIGKILL')
    }
  })

  test('a kill right after the last renaming: the same command knows what stands there', async () => {
    const out = at('placed')
    const controller = new AbortController()
    await apply({
      ...{ base: BASE, adapters: [adapter], out, signal: controller.signal },
      onProgress: ({ kind, phase }) => {
        if (phase === 'checking' && kind === 'start') controller.abort()
      },
    }).catch(() => {})
    renameSync(join(`${out}.partial`, 'whole'), out)
    writeFileSync(join(`${out}.partial`, 'placed.json'), JSON.stringify({ inode: String(statSync(out).ino) }))
    const { code, stdout } = await run(out)
    expect(code).toBe(0)
    expect(documentOf(stdout, 'apply-1').resumed).toBe(pieces)
    expectDone(out)
  })

  test('so of a single file', async () => {
    const out = at('placed.safetensors')
    const base = join(BASE, 'model.safetensors')
    const controller = new AbortController()
    await apply({
      ...{ base, adapters: [adapter], out, signal: controller.signal },
      onProgress: ({ kind, phase }) => {
        if (phase === 'checking' && kind === 'start') controller.abort()
      },
    }).catch(() => {})
    renameSync(join(`${out}.partial`, 'whole', 'placed.safetensors'), out)
    writeFileSync(join(`${out}.partial`, 'placed.json'), JSON.stringify({ inode: String(statSync(out).ino) }))
    const { code, stdout } = await runInProcess(['apply', base, adapter, '-o', out, '--json'])
    expect(code).toBe(0)
    expect(documentOf(stdout, 'apply-1').resumed).toBe(pieces)
    expect(readFileSync(out).equals(readFileSync(join(reference, 'model.safetensors')))).toBe(true)
    expect(existsSync(`${out}.partial`)).toBe(false)
  })
})

test('a full disk ends it with one line, exit code 3; what is done is kept', async () => {
  const out = at('full')
  const { code, stderr } = await runShell(`ulimit -f 1000; lora-svd apply ${BASE} ${adapter} -o ${out} -q`)
  expect(code).toBe(3)
  expect(stderr).toMatch(/^lora-svd: [^\n]*\(EFBIG\)\n$/)
  expect(existsSync(out)).toBe(false)
  expect((await run(out)).code).toBe(0)
  expectDone(out)
})

test('with --force the old one stays until the new one is whole', async () => {
  const out = at('forced')
  await run(out, '--weights=0.5')
  const old = readFileSync(join(out, 'model.safetensors'))
  const controller = new AbortController()
  await apply({
    ...{ base: BASE, adapters: [adapter], out, force: true, signal: controller.signal },
    onProgress: ({ kind, phase }) => {
      if (phase === 'checking' && kind === 'start') controller.abort()
    },
  }).catch(() => {})
  expect(readFileSync(join(out, 'model.safetensors')).equals(old)).toBe(true)
  // killed between the two renames
  renameSync(out, join(`${out}.partial`, 'replaced-abc'))
  const { code } = await run(out, '--force')
  expect(code).toBe(0)
  expectDone(out)
  rmSync(out, { recursive: true })
})
