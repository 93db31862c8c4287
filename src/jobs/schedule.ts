import { totalmem } from 'node:os'

/**
 * The share of the machine's memory that jobs get where nobody says: the rest keeps the files that are read cached, and is
 * there for all that an estimate leaves out.
 */
const SHARE = 0.5

/** How much memory jobs may take together where nobody says, in bytes. A container's limit counts as the machine's memory. */
export const defaultMemory = (): number => memoryOf(totalmem(), process.constrainedMemory?.())

/** `limit`: what the process is limited to; 0, undefined or more than there is where nothing limits it. */
export const memoryOf = (total: number, limit = 0): number =>
  Math.floor(SHARE * (limit > 0 ? Math.min(limit, total) : total))

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
 * How many workers, and how many threads each, do the jobs soonest by a simple model: the largest jobs start first, and no
 * more run at once than fit in memory.
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
  const inMemory = ({ bytes }: JobSize) => Math.max(1, Math.min(workers, Math.floor(memory / bytes)))
  const shared = jobs.reduce((sum, job) => sum + job.flops / inMemory(job), 0)
  const flops = jobs.map((job) => job.flops).sort((a, b) => b - a)
  return Math.max(shared, latestEnd(flops, workers)) / speed
}

/** When the last of the workers is done, where each takes the next job in this order as soon as it is free. */
function latestEnd(times: readonly number[], workers: number): number {
  const ends = new Float64Array(workers)
  for (const time of times) ends[ends.indexOf(Math.min(...ends))] += time
  return Math.max(...ends)
}

/**
 * Which job starts next. Where results are wanted in order they wait for those before them, so that no job starts that is
 * `ahead` or more places after the first one whose result hasn't been taken. Where they are not, the next job is one of the first `ahead`
 * that are left. Any may start where `ahead` is left out.
 */
export interface Schedule {
  /**
   * The unstarted job with the most flops among those allowed that take up to `room` bytes; it counts as started.
   * Where none does and `mustStart`, the first unstarted one; in order only if its result is the next to be taken.
   */
  pick(room: number, mustStart: boolean): number | undefined
  /** The next result has been taken. */
  taken(): void
}

export function createSchedule(jobs: readonly JobSize[], ahead?: number, isOrdered = true): Schedule {
  const isStarted = new Uint8Array(jobs.length)
  let next = 0

  function pick(room: number, mustStart: boolean): number | undefined {
    const first = ahead === undefined || !isOrdered ? 0 : next
    let best: number | undefined
    let places = ahead ?? jobs.length
    for (let i = first; i < jobs.length && places > 0; i++) {
      // a place counts where results are in order, else a job that is left
      if (isOrdered || isStarted[i] === 0) places--
      if (isStarted[i] || jobs[i].bytes > room) continue
      if (best === undefined || jobs[i].flops > jobs[best].flops) best = i
    }
    if (best === undefined && mustStart) {
      const unstarted = isStarted.indexOf(0, first)
      if (unstarted >= 0 && (ahead === undefined || !isOrdered || unstarted === next)) best = unstarted
    }
    if (best !== undefined) isStarted[best] = 1
    return best
  }

  return {
    pick,
    taken: () => {
      next++
    },
  }
}
