import type { Terminal } from '../terminal/terminal.ts'
import { createPace, type Pace } from './pace.ts'
import { progressLine } from './progress-line.ts'

/** Work whose progress is shown. */
export interface Task {
  /** What is being done: `inspecting`. */
  readonly label: string
  readonly items: number
  /** What the items are, in the plural: `matrices`. */
  readonly noun: string
  /** All work, in a unit that takes about the same time wherever it is spent. */
  readonly total: number
  /** Bytes are shown as a rate; of flops only the number of items is. */
  readonly unit: 'flops' | 'bytes'
}

/** A line on standard error that says how far work is. */
export interface Progress {
  start(task: Task): void
  /** An item is now in hand. */
  begin(name: string): void
  /** So much work of one more item is done. */
  step(work: number): void
  /** The line goes. */
  end(): void
}

/** Seconds that pass, and what happens every so many milliseconds until it is stopped: for tests to stand in. */
export interface Clock {
  now(): number
  every(milliseconds: number, action: () => void): () => void
}

const clock: Clock = {
  now: () => performance.now() / 1000,
  every(milliseconds, action) {
    const timer = setInterval(action, milliseconds).unref()
    return () => clearInterval(timer)
  },
}

/** Often enough to look alive. */
const REFRESH_MILLISECONDS = 125

/** Progress on a terminal; none in a pipe, and none when `quiet`. Text written meanwhile stands above the line. */
export function progressOn(
  terminal: Pick<Terminal, 'status' | 'errColumns' | 'isErrTerminal' | 'paintErr'>,
  quiet: boolean,
  { now, every }: Clock = clock,
): Progress {
  if (quiet || !terminal.isErrTerminal) return { start() {}, begin() {}, step() {}, end() {} }
  let task: Task
  let pace: Pace
  let [begun, done, work, name] = [0, 0, 0, '']
  let stop = () => {}

  function draw(): void {
    const time = now()
    // the first of several that run at once says little about their pace
    const isKnown = done > 0 && done >= begun - done
    const state = {
      ...task,
      done,
      share: task.total > 0 ? Math.min(1, work / task.total) : done / task.items,
      name,
      ...(isKnown && {
        secondsLeft: pace.secondsLeft(task.total - work, time),
        ...(task.unit === 'bytes'
          ? { bytesPerSecond: pace.workRate(time) }
          : { itemsPerSecond: pace.itemRate(time) }),
      }),
    }
    // the last column stays free: a terminal that is written full may go to the next line
    terminal.status(terminal.paintErr.dim(progressLine(state, terminal.errColumns - 1)))
  }

  return {
    start(next) {
      stop()
      task = next
      pace = createPace(now())
      ;[begun, done, work, name] = [0, 0, 0, '']
      draw()
      stop = every(REFRESH_MILLISECONDS, draw)
    },
    begin(item) {
      begun++
      name = item
    },
    step(part) {
      done++
      work += part
      pace.step(part, now())
    },
    end() {
      stop()
      terminal.status('')
    },
  }
}
