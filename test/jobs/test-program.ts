/** A program for tests, in which the first argument says what happens. */
import { readdirSync } from 'node:fs'
import { exitCodeOf, LoraSvdError } from '../../src/errors.ts'
import { writeFileAtomic } from '../../src/io/write-atomic.ts'
import { runJobs } from '../../src/jobs/run-jobs.ts'
import { whileInterruptible } from '../../src/terminal/interrupt.ts'
import { type Fail, fail } from './test-worker.ts'

const say = (text: string) => void process.stdout.write(`${text}\n`)

const results = (jobs: readonly Fail[], signal?: AbortSignal) =>
  runJobs(jobs, {
    kind: 'fail',
    work: fail,
    threads: 2,
    engine: 'wasm',
    flopsOf: () => 1e12,
    bytesOf: () => 1,
    memory: 1e9,
    notice: () => {},
    ...(signal && { signal }),
    workerFile: new URL('./test-worker.js', import.meta.url),
  })

/** A file whose last bytes come when the jobs are done; says `ready` when the first are there. */
async function* fileOf(folder: string, signal?: AbortSignal) {
  yield Buffer.from('begun')
  if (!readdirSync(folder).some((name) => name.endsWith('.tmp'))) say('no temporary file')
  setTimeout(say, 300, 'ready')
  for await (const result of results(['fine', 'spin', 'spin'], signal)) yield Buffer.from(String(result))
}

const programs: Record<string, (folder: string) => Promise<unknown>> = {
  async whole() {
    for await (const result of results(['fine', 'fine', 'fine'])) say(String(result))
  },
  async left() {
    for await (const result of results(['fine', 'spin', 'spin'])) {
      say(String(result))
      break
    }
  },
  async forgotten() {
    say(String((await results(['fine', 'fine', 'fine']).next()).value))
  },
  async memory() {
    await results(['memory']).next()
  },
  interruptible: (folder) =>
    whileInterruptible((signal) => writeFileAtomic(`${folder}/out`, fileOf(folder, signal))),
  stubborn: (folder) => whileInterruptible(() => writeFileAtomic(`${folder}/out`, fileOf(folder))),
}

const [, , name, folder] = process.argv
try {
  await programs[name](folder)
} catch (error) {
  say(`${error instanceof LoraSvdError ? error.code : 'other'}: ${(error as Error).message}`)
  process.exitCode = exitCodeOf(error)
}
