import { afterAll, beforeAll, expect, test } from 'vitest'
import { type EarlyThreads, earlyThreads } from '../../src/jobs/early.ts'
import { runJobs } from '../../src/jobs/run-jobs.ts'
import { type Bundles, bundle } from './bundle.ts'
import { type Fail, fail, type Wait, wait } from './test-worker.ts'

let bundles: Bundles
beforeAll(async () => {
  bundles = await bundle(['test/jobs/test-worker.ts'])
})
afterAll(() => bundles.remove())

const common = () => ({
  threads: 2,
  engine: 'wasm' as const,
  flopsOf: () => 1e12,
  bytesOf: () => 1,
  memory: 1e9,
  notice: () => {},
  workerFile: bundles.url('test-worker.js'),
})

/** The threads that did two jobs at the same time. */
async function threadsOf(early?: EarlyThreads): Promise<number[]> {
  const gate = new Int32Array(new SharedArrayBuffer(4))
  let begun = 0
  const onStart = () => {
    if (++begun === 2) gate[0] = 1
  }
  const jobs: Wait[] = [
    { milliseconds: 0, gate },
    { milliseconds: 0, gate },
  ]
  const threads: number[] = []
  const options = { ...common(), kind: 'wait', work: wait, onStart, early }
  for await (const { thread } of runJobs(jobs, options)) threads.push(thread)
  return threads.sort((a, b) => a - b)
}

test('threads that are there already do the jobs, and each of them once', async () => {
  const early = earlyThreads('wasm', bundles.url('test-worker.js'))
  early.start('wait', 3)
  const first = await threadsOf(early)
  const second = await threadsOf(early)
  // one was left, and one had to be started
  expect(second[0]).toBe(first[1] + 1)
  expect(second[1]).toBeGreaterThan(second[0])
  const third = await threadsOf(early)
  expect(third[0]).toBeGreaterThan(second[1])
  await early.end()
})

test('what was started for other jobs is left alone, and ended', async () => {
  const early = earlyThreads('wasm', bundles.url('test-worker.js'))
  early.start('fail', 1)
  const events = { report: () => {}, failure: () => {} }
  const other = { kind: 'fail', engine: 'wasm', threads: 2, network: undefined } as const
  expect(early.take(other, events)).toBeUndefined()
  await early.end()
  expect(early.take({ ...other, threads: 1 }, events)).toBeUndefined()
})

test('a thread that is gone before it is taken fails the run', async () => {
  const early = earlyThreads('wasm', new URL('missing.js', bundles.url('test-worker.js')))
  early.start('fail', 1)
  await new Promise((resolve) => setTimeout(resolve, 200))
  const jobs: Fail[] = ['fine']
  const options = { ...common(), threads: 1, kind: 'fail', work: fail, early }
  await expect(runJobs(jobs, options).next()).rejects.toThrow(/missing\.js|worker thread/)
  await early.end()
})
