import { setImmediate } from 'node:timers/promises'
import { preferredEngine } from '../engine/choice.ts'
import { openLapack } from '../engine/open.ts'
import { assertBuilt, builtFile } from '../io/built-file.ts'
import { createCrew } from './crew.ts'
import { type Allotment, allot, createSchedule, type JobSize } from './schedule.ts'
import { bufferBytes, type JobContext, type JobOptions, keptEngines } from './worker.ts'

/** Many jobs of one kind, done by worker threads, with their results in order. */

/**
 * Up to so many flops in all, the calling thread does the jobs itself: about as long as a worker and its engine take to
 * start, 0.1 s.
 */
const IN_PROCESS_UP_TO = 1e8

/** How far the jobs of one worker run ahead of the result that is taken next: enough to start the large ones early. */
const AHEAD_PER_WORKER = 8

/**
 * Does the jobs and yields their results in the order of `jobs`, however they end. Which thread does a job changes none of
 * its bits with the embedded engine. The first error ends everything and is thrown: LoraSvdError as the job threw it,
 * 'system' where a worker is lost; other errors with their message and stack. Leaving the generator early, or an abort of
 * `signal`, ends the workers.
 */
export async function* runJobs<J, R>(jobs: readonly J[], options: JobOptions<J, R>): AsyncGenerator<R, void> {
  for await (const { result } of run(jobs, options, true)) yield result
}

/** As `runJobs`, but each result as soon as it is there. */
export const runJobsAsDone = <J, R>(
  jobs: readonly J[],
  options: JobOptions<J, R>,
): AsyncGenerator<Done<R>, void> => run(jobs, options, false)

/** The result of the job of this index. */
export interface Done<R> {
  readonly index: number
  readonly result: R
}

async function* run<J, R>(
  jobs: readonly J[],
  options: JobOptions<J, R>,
  isOrdered: boolean,
): AsyncGenerator<Done<R>, void> {
  options.signal?.throwIfAborted()
  const sizeOf = (job: J) => ({ flops: options.flopsOf(job), bytes: options.bytesOf(job) })
  const sizes = jobs.map(sizeOf)
  const planned = options.planFor?.map(sizeOf) ?? sizes
  const notice = eachOnce(options.notice)
  if (planned.reduce((sum, { flops }) => sum + flops, 0) <= IN_PROCESS_UP_TO) {
    yield* runInProcess(jobs, { ...options, notice })
    return
  }
  const library = await libraryUsed(planned, options, notice)
  const allotment = allot(planned, { ...options, isEngineShared: library !== undefined })
  yield* runInWorkers(jobs, sizes, { allotment, library }, { ...options, notice }, isOrdered)
}

async function* runInProcess<J, R>(
  jobs: readonly J[],
  { work, engine, threads, notice, openFiles, onStart, onDone, signal }: JobOptions<J, R>,
): AsyncGenerator<Done<R>, void> {
  const context: JobContext = { engine: keptEngines({ engine, threads }, notice), notice }
  const close = await openFiles?.()
  try {
    for (const [index, job] of jobs.entries()) {
      // signals and timers get their turn
      await setImmediate()
      signal?.throwIfAborted()
      const start = performance.now()
      onStart?.(index)
      const result = await work(job, context)
      onDone?.(index, secondsSince(start))
      yield { index, result }
    }
  } finally {
    await close?.()
  }
}

async function* runInWorkers<J, R>(
  jobs: readonly J[],
  sizes: readonly JobSize[],
  { allotment, library }: { readonly allotment: Allotment; readonly library: string | undefined },
  options: JobOptions<J, R>,
  isOrdered: boolean,
): AsyncGenerator<Done<R>, void> {
  const { kind, engine, memory, signal, early, workerFile = builtFile('job-worker.cjs') } = options
  assertBuilt(workerFile, "can't find the program of worker threads,")
  const schedule = createSchedule(
    sizes,
    isOrdered ? AHEAD_PER_WORKER * allotment.length : options.ahead,
    isOrdered,
  )
  const waiting = new Map<number, { result: R; bytes: number }>()
  const starts = new Map<number, number>()
  let waitingBytes = 0
  let failure: { error: unknown } | undefined
  let wake = () => {}

  const fail = (error: unknown) => {
    failure ??= { error }
    void crew.end()
    wake()
  }
  const crew = createCrew(
    { allotment, memory, kind, engine, library, file: workerFile, early },
    {
      result(index, result) {
        const bytes = bufferBytes(result)
        waiting.set(index, { result: result as R, bytes })
        waitingBytes += bytes
        startMore(() => options.onDone?.(index, secondsSince(starts.get(index)!)))
        wake()
      },
      notice: options.notice,
      failure: fail,
    },
  )

  function startMore(first = () => {}): void {
    try {
      first()
      while (failure === undefined && crew.free() > 0) {
        const room = memory - crew.busyBytes() - waitingBytes
        const index = schedule.pick(room, crew.isIdle())
        if (index === undefined) return
        starts.set(index, performance.now())
        crew.start(index, jobs[index], sizes[index].bytes, room)
        options.onStart?.(index)
      }
    } catch (error) {
      fail(error)
    }
  }

  const onAbort = () => fail(signal?.reason)
  signal?.addEventListener('abort', onAbort)
  try {
    for (let taken = 0; taken < jobs.length; taken++) {
      startMore()
      const nextOne = () => (isOrdered ? taken : waiting.keys().next().value)
      while (failure === undefined && !waiting.has(nextOne() ?? -1)) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
      if (failure !== undefined) throw failure.error
      const index = nextOne()!
      const { result, bytes } = waiting.get(index)!
      waiting.delete(index)
      waitingBytes -= bytes
      schedule.taken()
      // the workers go on while the caller uses the result
      startMore()
      yield { index, result }
    }
  } finally {
    signal?.removeEventListener('abort', onAbort)
    await crew.end()
  }
}

/** The system's LAPACK, where that computes any of the jobs. It is loaded and checked to find out; workers then share it. */
async function libraryUsed(
  sizes: readonly JobSize[],
  { engine, threads }: { engine: JobOptions<never, never>['engine']; threads: number },
  notice: (line: string) => void,
): Promise<string | undefined> {
  const most = Math.max(...sizes.map(({ flops }) => flops))
  if (preferredEngine(engine, most) !== 'lapack') return undefined
  return (await openLapack({ engine, threads }, notice))?.library.path
}

function eachOnce(notice: (line: string) => void): (line: string) => void {
  const given = new Set<string>()
  return (line) => {
    if (!given.has(line)) notice(line)
    given.add(line)
  }
}

const secondsSince = (start: number) => (performance.now() - start) / 1000
