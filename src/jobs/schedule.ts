import type { JobSize } from './allot.ts'

/**
 * Which job starts next. Results are wanted in order and wait for those before them, so that no job starts that is
 * `ahead` or more places after the first one whose result hasn't been taken.
 */
export interface Schedule {
  /**
   * The unstarted job with the most flops among those allowed that take up to `room` bytes; it counts as started.
   * Where none does and `mustStart`, the first unstarted one, if its result is the next to be taken.
   */
  pick(room: number, mustStart: boolean): number | undefined
  /** The next result has been taken. */
  taken(): void
}

export function createSchedule(jobs: readonly JobSize[], ahead: number): Schedule {
  const isStarted = new Uint8Array(jobs.length)
  let next = 0

  function pick(room: number, mustStart: boolean): number | undefined {
    let best: number | undefined
    for (let i = next; i < Math.min(jobs.length, next + ahead); i++) {
      if (isStarted[i] || jobs[i].bytes > room) continue
      if (best === undefined || jobs[i].flops > jobs[best].flops) best = i
    }
    if (best === undefined && mustStart && next < jobs.length && !isStarted[next]) best = next
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
