import type { Terminal } from '../terminal/terminal.ts'
import { progressLine } from './progress-line.ts'

/** Work done this long ago counts for 1/e, in seconds: long enough for a few large matrices. */
const MEMORY = 20
/** Before so many seconds nothing is said of the time that is left. */
const LEAST_ELAPSED = 1

/** How fast work goes, from when its parts were done. Times in seconds. */
export interface Pace {
  /** So much work of one more item is done at `now`. */
  step(work: number, now: number): void
  /** Work a second, of late; undefined at first. */
  workRate(now: number): number | undefined
  /** Items a second, of late; undefined at first. */
  itemRate(now: number): number | undefined
  /** How long `work` will take; undefined at first. Shrinks between steps, and grows when the next one is late. */
  secondsLeft(work: number, now: number): number | undefined
}

export function createPace(start: number): Pace {
  // sums in which what is long ago counts for less
  let [work, items, seconds] = [0, 0, 0]
  let last = start

  function step(done: number, now: number): void {
    const sinceLast = now - last
    const fading = Math.exp(-sinceLast / MEMORY)
    work = work * fading + done
    items = items * fading + 1
    seconds = seconds * fading + sinceLast
    last = now
  }

  /** The seconds for the work so far, with the time by which the next step is late. */
  function spent(now: number): number {
    return seconds + Math.max(0, now - last - seconds / items)
  }

  const isKnown = (now: number) => work > 0 && spent(now) > 0 && now - start >= LEAST_ELAPSED
  return {
    step,
    workRate: (now) => (isKnown(now) ? work / spent(now) : undefined),
    itemRate: (now) => (isKnown(now) ? items / spent(now) : undefined),
    secondsLeft(left, now) {
      if (!isKnown(now)) return undefined
      const alreadySpent = Math.min(now - last, seconds / items)
      return Math.max(0, (left * spent(now)) / work - alreadySpent)
    },
  }
}

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
