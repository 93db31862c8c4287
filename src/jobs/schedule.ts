import type { JobSize } from './allot.ts'

/**
 * Which job starts next. Where results are wanted in order they wait for those before them, so that no job starts that is
 * `ahead` or more places after the first one whose result hasn't been taken; any may start where `ahead` is left out.
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

export function createSchedule(jobs: readonly JobSize[], ahead?: number): Schedule {
  const isStarted = new Uint8Array(jobs.length)
  let next = 0

  function pick(room: number, mustStart: boolean): number | undefined {
    const first = ahead === undefined ? 0 : next
    let best: number | undefined
    for (let i = first; i < Math.min(jobs.length, first + (ahead ?? jobs.length)); i++) {
      if (isStarted[i] || jobs[i].bytes > room) continue
      if (best === undefined || jobs[i].flops > jobs[best].flops) best = i
    }
    if (best === undefined && mustStart) {
      const unstarted = isStarted.indexOf(0, first)
      if (unstarted >= 0 && (ahead === undefined || unstarted === next)) best = unstarted
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
