import { spawn } from 'node:child_process'
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Bundles, bundle } from './bundle.ts'

let bundles: Bundles
beforeAll(async () => {
  bundles = await bundle(['test/jobs/test-worker.ts', 'test/jobs/test-program.ts'])
})
afterAll(() => bundles.remove())

interface Run {
  readonly nodeOptions?: readonly string[]
  /** Sent one by one, half a second apart or as `apart` says in milliseconds, from when the program says that it is ready. */
  readonly signals?: readonly NodeJS.Signals[]
  readonly apart?: number
}

/** Runs the program until it ends by itself, in a folder of its own. */
function run(name: string, { nodeOptions = [], signals = [], apart = 500 }: Run = {}) {
  const folder = join(bundles.folder, `${name}-${signals.join('-')}`)
  mkdirSync(folder)
  const program = fileURLToPath(bundles.url('test-program.js'))
  const child = spawn(process.execPath, [...nodeOptions, program, name, folder], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const output = { stdout: '', stderr: '' }
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output.stderr += text
  })
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output.stdout += text
    if (!text.includes('ready')) return
    for (const [i, signal] of signals.entries()) {
      if (i * apart === 0) child.kill(signal)
      else setTimeout(() => child.kill(signal), i * apart)
    }
  })
  return new Promise<{ code: number | null; signal: string | null; stdout: string; left: string[] }>(
    (resolve) => {
      child.on('close', (code, signal) => resolve({ code, signal, ...output, left: readdirSync(folder) }))
    },
  )
}

describe.concurrent('a process ends by itself', () => {
  test.each([
    ['when all jobs are done', 'whole', 'fine\nfine\nfine\n'],
    ['when the rest of them is left', 'left', 'fine\n'],
    ['when the rest of them is forgotten', 'forgotten', 'fine\n'],
  ])('%s', async (_, name, stdout) => {
    expect(await run(name)).toMatchObject({ code: 0, signal: null, stdout })
  })
})

test('a worker without memory is an error that says what to do', async () => {
  expect(await run('memory', { nodeOptions: ['--max-old-space-size=40'] })).toMatchObject({
    code: 3,
    stdout: 'system: a worker thread ran out of memory; run again with fewer --threads or less --memory\n',
  })
})

describe.concurrent('an interruption', () => {
  test.each([
    ['ends jobs and the file that is being written, and is an error of its own', ['SIGINT']],
    ['that comes twice at once, as through npx, is one', ['SIGINT', 'SIGINT']],
  ] as const)('%s', async (_, signals) => {
    expect(await run('interruptible', { signals, apart: 0 })).toEqual({
      code: 130,
      signal: null,
      stdout: 'ready\ninterrupted: interrupted\n',
      stderr: '',
      left: [],
    })
  })

  test.each(['SIGTERM', 'SIGHUP'] as const)('by %s ends the process after them', async (signal) => {
    const result = await run('interruptible', { signals: [signal] })
    expect(result).toEqual({ code: null, signal, stdout: 'ready\n', stderr: '', left: [] })
  })

  test('of work that does not end is not waited for', async () => {
    const result = await run('stubborn', { signals: ['SIGINT'] })
    expect(result).toEqual({ code: null, signal: 'SIGINT', stdout: 'ready\n', stderr: '', left: [] })
  })

  test('repeated ends it at once', async () => {
    const result = await run('stubborn', { signals: ['SIGTERM', 'SIGINT'] })
    expect(result).toEqual({ code: null, signal: 'SIGINT', stdout: 'ready\n', stderr: '', left: [] })
  })
})
