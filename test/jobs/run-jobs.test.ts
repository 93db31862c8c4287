import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ExitCode, exitCodeOf, LoraSvdError } from '../../src/errors.ts'
import { runJobs, runJobsAsDone } from '../../src/jobs/run-jobs.ts'
import type { JobOptions } from '../../src/jobs/worker.ts'
import { generator } from '../engine/support.ts'
import { type Bundles, bundle } from './bundle.ts'
import { type Decompose, decompose, type Fail, fail, type Wait, wait } from './test-worker.ts'

let bundles: Bundles
beforeAll(async () => {
  bundles = await bundle(['test/jobs/test-worker.ts'])
})
afterAll(() => bundles.remove())

/** Enough flops that workers do the job. */
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

const here = { flopsOf: () => 1 }
const failing = (jobs: readonly Fail[], more: Partial<JobOptions<Fail, unknown>> = {}) =>
  collect(runJobs(jobs, options('fail', fail, more)))
const waiting = (
  jobs: readonly Wait[],
  more: Partial<JobOptions<Wait, Awaited<ReturnType<typeof wait>>>> = {},
) => runJobs(jobs, options('wait', wait, more))

describe('results', () => {
  const jobs: Decompose[] = [90, 30, 70, 50, 30, 110].map((order, seed) => ({ order, seed }))
  const run = (more: Partial<JobOptions<Decompose, Awaited<ReturnType<typeof decompose>>>>) =>
    collect(runJobs(jobs, options('decompose', decompose, more)))

  test('are the same bits in this thread and in workers, in order', async () => {
    const expected = (await run(here)).map(({ values }) => values)
    expect(expected.map(({ length }) => length)).toEqual(jobs.map(({ order }) => order))
    for (const threads of [1, 3]) {
      expect((await run({ threads })).map(({ values }) => values)).toEqual(expected)
    }
  })

  test('come as soon as they are there where order is nothing', async () => {
    const gate = new Int32Array(new SharedArrayBuffer(4))
    const held: Wait[] = [{ milliseconds: 0, gate }, ...Array(3).fill({ milliseconds: 0 })]
    const seen: number[] = []
    for await (const { index } of runJobsAsDone(held, options('wait', wait, { threads: 2 }))) {
      seen.push(index)
      // the first may end only when the others have come
      if (seen.length === 3) gate[0] = 1
    }
    expect(seen.slice(0, 3).sort()).toEqual([1, 2, 3])
    expect(seen[3]).toBe(0)
    const all = await collect(runJobsAsDone(jobs, options('decompose', decompose, { threads: 3 })))
    const expected = await run(here)
    for (const { index, result } of all) expect(result.values).toEqual(expected[index].values)
    expect(all.map(({ index }) => index).sort()).toEqual([...jobs.keys()])
  })

  test('come from engines of which one serves all the jobs of a thread, by the size of the work', async () => {
    const engines = (await run({ engine: 'auto', ...here })).map(({ engine }) => engine)
    expect(engines).toEqual(['wasm', 'js', 'wasm', 'js', 'js', 'wasm'])
    expect((await run({ engine: 'auto' })).map(({ engine }) => engine)).toEqual(engines)
  })

  test('of one large job: the engine in its worker has all threads, which join', async () => {
    const one = [{ order: 700, seed: 1 }]
    const decomposed = await collect(runJobs(one, options('decompose', decompose, { threads: 3 })))
    const [alone] = await collect(runJobs(one, options('decompose', decompose, { threads: 1 })))
    expect(decomposed[0]).toMatchObject({ engineThreads: 3, values: alone.values })
    expect(decomposed[0].helped).toBe(true)
    expect(alone.helped).toBe(false)
  })

  test('of none', async () => {
    expect(await failing([])).toEqual([])
  })

  test('wait for those before them, and several threads work', async () => {
    const order: number[] = []
    const gate = new Int32Array(new SharedArrayBuffer(4))
    const results = await collect(
      waiting([{ milliseconds: 0, gate }, ...Array(3).fill({ milliseconds: 1 })], {
        onDone: (index, seconds) => {
          order.push(index)
          if (index === 3) gate[0] = 1
          expect(seconds).toBeGreaterThan(0)
        },
      }),
    )
    expect(order).toEqual([1, 2, 3, 0])
    expect(results[0].thread).not.toBe(results[1].thread)
    expect(results[1].thread).toBe(results[2].thread)
  })

  test('carry no more than their own part of a buffer', async () => {
    const [{ data }] = await collect(waiting([{ milliseconds: 0, bytes: 100 }]))
    expect([data.length, data.buffer.byteLength]).toEqual([100, 100])
  })
})

test('a notice is given once, whichever threads it comes from', async () => {
  for (const more of [{}, here]) {
    const lines: string[] = []
    const jobs = [{ milliseconds: 50 }, { milliseconds: 50 }, { milliseconds: 1 }]
    await collect(waiting(jobs, { ...more, notice: (line) => lines.push(line) }))
    expect(lines).toEqual(['waiting takes time'])
  }
})

describe('memory', () => {
  /** The most bytes of jobs that ran at once. */
  async function peak(bytes: readonly number[], memory: number): Promise<number> {
    let [now, most] = [0, 0]
    const jobs = bytes.map((bytes) => ({ milliseconds: 20, bytes: 0, takes: bytes }))
    await collect(
      waiting(jobs, {
        threads: 4,
        memory,
        bytesOf: (job) => (job as (typeof jobs)[number]).takes,
        onStart: (index) => {
          now += bytes[index]
          most = Math.max(most, now)
        },
        onDone: (index) => {
          now -= bytes[index]
        },
      }),
    )
    return most
  }

  test('of the jobs that run at once stays within the limit', async () => {
    expect(await peak([30, 30, 30, 90, 30, 30, 30, 30], 100)).toBeLessThanOrEqual(100)
    expect(await peak([40, 40, 40, 40], 1e9)).toBe(160)
  })

  test('stays within it for jobs of all sizes', { timeout: 20_000 }, async () => {
    const random = generator(7)
    const sizes = Array.from({ length: 60 }, () => Math.ceil(100 * Math.abs(random()) ** 4))
    expect(Math.max(...sizes)).toBeGreaterThan(80)
    expect(await peak(sizes, 100)).toBeLessThanOrEqual(100)
  })

  test('that a large job took is given back before small ones start', async () => {
    expect(await peak([900, ...Array(9).fill(20)], 1000)).toBeLessThanOrEqual(1000)
  })

  test('of a single job may exceed it', async () => {
    expect(await peak([30, 300, 30], 100)).toBe(300)
  })

  test('that one large job took does not keep later ones from running at once', async () => {
    const gate = new Int32Array(new SharedArrayBuffer(4))
    const sizes = [900, ...Array(12).fill(200)]
    // the second goes on when the third is done
    const jobs = sizes.map((size, i) => ({ milliseconds: 0, size, gate: i === 1 ? gate : undefined }))
    const sizeOf = (job: Wait) => (job as (typeof jobs)[number]).size
    const done: number[] = []
    await collect(
      waiting(jobs, {
        memory: 1000,
        bytesOf: sizeOf,
        flopsOf: (job) => MUCH + sizeOf(job),
        onDone: (index) => {
          done.push(index)
          if (index === 2) gate[0] = 1
        },
      }),
    )
    expect(done.slice(0, 2)).toEqual([0, 2])
  })

  test('of results that wait counts', async () => {
    const started: number[] = []
    const jobs = Array.from({ length: 12 }, (_, i) => ({ milliseconds: i === 0 ? 400 : 0, bytes: 1000 }))
    const results = waiting(jobs, { memory: 3500, onStart: (index) => started.push(index) })
    await results.next()
    // the first was waited for, beside it 3 results of 1000 bytes
    expect(started.length).toBeLessThanOrEqual(5)
    expect((await collect(results)).length).toBe(11)
  })
})

describe('an error', () => {
  test.each([
    ['in this thread', here],
    ['in a worker', {}],
  ])('of ours %s keeps its class, code and place', async (_, more) => {
    const error = await failing(['fine', 'input', 'fine'], more).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(LoraSvdError)
    expect(error).toMatchObject({
      code: 'bad-input',
      message: 'w.npy: row 1 is NaN',
      file: 'w.npy',
      tensor: 'w',
    })
    expect(exitCodeOf(error)).toBe(ExitCode.badInput)
  })

  test('of others keeps message and stack', async () => {
    const error = await failing(['type']).catch((error: unknown) => error)
    expect(error).toMatchObject({ name: 'TypeError', message: 'x is not a function' })
    expect((error as Error).stack).toContain('test-worker.js')
    expect(await failing(['range']).catch((error: unknown) => error)).toBeInstanceOf(RangeError)
  })

  test('ends workers that never would', { timeout: 20_000 }, async () => {
    await expect(failing(['spin', 'input'])).rejects.toThrow('row 1 is NaN')
  })

  test('is thrown where a result, or a job, is no plain data', async () => {
    await expect(failing(['function'])).rejects.toThrow(/could not be cloned/)
    await expect(failing([(() => 'fine') as never])).rejects.toThrow(/could not be cloned/)
  })

  test('says so where a worker is lost', async () => {
    await expect(failing(['exit', 'spin'])).rejects.toMatchObject({
      code: 'system',
      message:
        'a worker thread ended in the middle of its work, with code 7; run again with fewer --threads or less --memory',
    })
  })

  test('comes from the program of workers in dist/, where no other is named, for a kind it does not know', async () => {
    const { workerFile: _, ...others } = options('no-such-kind', fail)
    await expect(collect(runJobs<Fail, unknown>(['fine'], others))).rejects.toThrow(
      'this program of workers has no jobs of kind no-such-kind',
    )
  })

  test('says so where the system refuses a worker what it needs to start', async () => {
    const program = join(bundles.folder, 'refused.mjs')
    writeFileSync(
      program,
      "throw Object.assign(new Error('EMFILE: too many open files'), { errno: -24, code: 'EMFILE', syscall: 'open' })",
    )
    await expect(failing(['fine'], { workerFile: pathToFileURL(program) })).rejects.toMatchObject({
      code: 'system',
      message:
        "a worker thread can't start or go on: this process has too many files open (EMFILE); run again with fewer --threads or less --memory",
    })
  })

  test('names a program of workers that is not there', async () => {
    const workerFile = pathToFileURL('/nowhere/job-worker.cjs')
    await expect(failing(['fine'], { workerFile })).rejects.toMatchObject({
      code: 'system',
      message:
        "can't find the program of worker threads, /nowhere/job-worker.cjs; reinstall, or run: npm run build",
    })
  })
})

describe('an end before the end', () => {
  test('of the loop ends the workers', async () => {
    let done = 0
    for await (const _ of waiting(
      Array.from({ length: 50 }, () => ({ milliseconds: 5 })),
      { onDone: () => done++ },
    )) {
      break
    }
    const before = done
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(done).toBe(before)
  })

  test.each([
    ['in a worker that never would end', 'spin', {}, 200],
    ['in this thread', 'fine', here, 0],
  ] as const)('by a signal is thrown, %s', async (_, job, more, after) => {
    const controller = new AbortController()
    const reason = new LoraSvdError('interrupted', 'interrupted')
    const results = failing([job, job, job], {
      ...more,
      signal: controller.signal,
      onStart: () => {
        if (after > 0) setTimeout(() => controller.abort(reason), after)
        else controller.abort(reason)
      },
    })
    await expect(results).rejects.toBe(reason)
    await expect(failing(['fine'], { ...more, signal: controller.signal })).rejects.toBe(reason)
  })
})
