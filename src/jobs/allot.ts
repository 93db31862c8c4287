/** What is known of a job before it runs. */
export interface JobSize {
  readonly flops: number
  /** The most memory it takes at one time. */
  readonly bytes: number
}

/** The threads of the engine in each worker: as many workers as entries. */
export type Allotment = readonly number[]

export interface Resources {
  readonly threads: number
  readonly memory: number
  /** One library with one setting of threads computes for all workers, and serves callers with several threads one by one. */
  readonly isEngineShared: boolean
}

/**
 * t threads on one matrix are as fast as t^0.8 threads with a matrix each: a decomposition has parts that can't be shared
 * out, and reading and checking the matrix are such.
 */
const SHARING_EXPONENT = 0.8

/**
 * How many workers, and how many threads each, do the jobs soonest by a simple model: as many jobs run at once as fit
 * in memory, and nothing ends before the largest job does.
 */
export function allot(jobs: readonly JobSize[], { threads, memory, isEngineShared }: Resources): Allotment {
  const most = Math.max(1, Math.min(threads, jobs.length))
  let best = { workers: 1, time: Infinity }
  for (let workers = 1; workers <= most; workers++) {
    const each = isEngineShared && workers > 1 ? 1 : Math.floor(threads / workers)
    const time = timeOf(jobs, workers, each, memory)
    if (time < best.time) best = { workers, time }
  }
  const { workers } = best
  if (isEngineShared && workers > 1) return Array(workers).fill(1)
  const spare = threads % workers
  return Array.from({ length: workers }, (_, i) => Math.floor(threads / workers) + (i < spare ? 1 : 0))
}

function timeOf(jobs: readonly JobSize[], workers: number, threads: number, memory: number): number {
  const speed = threads ** SHARING_EXPONENT
  let shared = 0
  let largest = 0
  for (const { flops, bytes } of jobs) {
    const atOnce = Math.max(1, Math.min(workers, Math.floor(memory / bytes)))
    shared += flops / (atOnce * speed)
    largest = Math.max(largest, flops / speed)
  }
  return Math.max(shared, largest)
}
