/**
 * How threads share a task, in words of the shared memory. No thread ever waits for one that has not joined.
 *
 *     main                                    worker
 *     write task; STATE = OPEN                wait while ROUND is unchanged
 *     ROUND += 1; wake workers                if STATE is OPEN: STATE += 1 (join), else wait again
 *     take tiles until none is left           take tiles until none is left
 *     STATE loses OPEN: no more may join      STATE −= 1 (leave); wake main
 *     wait until STATE = 0
 *
 * A worker that is still starting, or slow to wake, finds the task closed and has missed nothing. Joining is
 * one compare-and-swap that fails unless OPEN is set, so a task's words are never rewritten under a worker.
 */

export const CONTROL_WORDS = 5
/** Counts the tasks, so that a worker can sleep until the next. */
export const ROUND = 0
/** OPEN, plus how many workers have joined. */
const STATE = 1
/** 1 once a worker's kernel has trapped. */
export const FAILED = 2
/** 1 once workers are to end. */
export const STOP = 3
/** Counts how often a worker has joined a task. */
export const JOINS = 4

const OPEN = 0x1000_0000

/** Joins the task if it is open. */
export function join(control: Int32Array): boolean {
  for (;;) {
    const state = Atomics.load(control, STATE)
    if ((state & OPEN) === 0) return false
    if (Atomics.compareExchange(control, STATE, state, state + 1) === state) {
      Atomics.add(control, JOINS, 1)
      return true
    }
  }
}

/** Leaves the task joined before. */
export function leave(control: Int32Array): void {
  Atomics.sub(control, STATE, 1)
  Atomics.notify(control, STATE)
}

/** Opens a task for joining. */
export function open(control: Int32Array): void {
  Atomics.store(control, STATE, OPEN)
  Atomics.add(control, ROUND, 1)
  Atomics.notify(control, ROUND)
}

/** Lets no more workers join and returns when those that did have left. */
export function close(control: Int32Array): void {
  for (let state = Atomics.and(control, STATE, ~OPEN) & ~OPEN; state !== 0; ) {
    Atomics.wait(control, STATE, state)
    state = Atomics.load(control, STATE)
  }
}
