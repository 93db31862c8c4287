import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ExitCode, exitCodeOf, LoraSvdError } from '../../src/errors.ts'
import { runJobs } from '../../src/jobs/run-jobs.ts'
import type { JobOptions } from '../../src/jobs/types.ts'
import { type Bundles, bundle } from './bundle.ts'
import { type Decompose, decompose, type Fail, fail, type Wait, wait } from './test-worker.ts'

let bundles: Bundles
beforeAll(async () => {
  bundles = await bundle(['test/jobs/test-worker.ts'])
})
afterAll(() => bundles.remove())

/** Enough flops that workers do it. */
const MUCH = 1e12

function options<J, R>(kind: string, work: JobOptions<J, R>['work'], more: Partial<JobOptions<J, R>> = {}) {
  return {
    kind,
    work,
    threads: 2,
    engine: 'wasm',
    flopsOf: () => MUCH,
    bytesOf: () => 1,
    memory: 1e9,
    notice: () => {},
    workerFile: bundles.url('test-worker.js'),
    ...more,
  } satisfies JobOptions<J, R>
}

async function collect<R>(results: AsyncGenerator<R, void>): Promise<R[]> {
  const all: R[] = []
  for await (const result of results) all.push(result)
  return all
}

describe('results', () => {
  const jobs: Decompose[] = [90, 30, 70, 50, 30, 110].map((order, seed) => ({ order, seed }))

  test('are the same bits in this thread and in workers, in order', async () => {
    const here = await collect(runJobs(jobs, options('decompose', decompose, { flopsOf: () => 1 })))
    expect(here.map(({ values }) => values.length)).toEqual(jobs.map(({ order }) => order))
    for (const threads of [1, 3]) {
      const there = await collect(runJobs(jobs, options('decompose', decompose, { threads })))
      expect(there.map(({ values }) => values)).toEqual(here.map(({ values }) => values))
    }
  })
})
