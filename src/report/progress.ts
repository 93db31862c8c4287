import type { ProgressEvent, ReceivedBytes } from '../jobs/context.ts'
import { CLEAR_LINE, type Terminal } from '../terminal/terminal.ts'
import { bytes, duration, short } from '../text/numbers.ts'
import { printable } from '../text/quote.ts'
import { widthOf, withoutMiddle } from '../text/width.ts'

/** What a progress line shows. */
export interface ProgressState {
  /** What is being done: `inspecting`. */
  readonly label: string
  /** What is counted, in the plural: `matrices`. */
  readonly noun: string
  readonly done: number
  readonly items: number
  /** Share of the work that is done, 0 to 1; of work without items none. */
  readonly share?: number
  readonly itemsPerSecond?: number | undefined
  /** Instead of items a second. */
  readonly bytesPerSecond?: number | undefined
  /** What came over the network. */
  readonly received?: ReceivedBytes | undefined
  readonly secondsLeft?: number | undefined
  /** The item in hand. */
  readonly name: string
}

/** From so many columns on there is room for words, a bar and a long name; a short bar; a rate. */
const WIDE = 110
const MEDIUM = 90
const NARROW = 56
/** A name cut to less can't be recognised. */
const LEAST_NAME = 12
const GAP = '  '

/** One line, at most `columns` wide, about how far work is. The wider, the more it says. */
export function progressLine(state: ProgressState, columns: number): string {
  const { label, noun, done, items, share, secondsLeft } = state
  const isWide = columns >= WIDE
  const count = isWide ? `${done} of ${items} ${noun}` : `${done}/${items}`
  const parts = [
    share === undefined ? label : `${label} ${count}`,
    share === undefined ? '' : shareText(share, isWide ? 20 : columns >= MEDIUM ? 10 : 0),
    ...(columns >= NARROW || share === undefined
      ? [receivedText(state, columns >= MEDIUM ? ' of ' : '/'), rateOf(state, isWide)]
      : []),
    secondsLeft === undefined ? '' : `${duration(secondsLeft)} left`,
  ]
  const text = parts.filter((part) => part !== '').join(GAP)
  const room = columns - widthOf(text) - GAP.length
  if (room < Math.min(LEAST_NAME, widthOf(state.name)) || state.name === '') return cutMiddle(text, columns)
  return text + GAP + cutMiddle(printable(state.name), room)
}

/** A share as a bar of so many cells and a percentage. */
const shareText = (share: number, cells: number): string =>
  cells === 0
    ? `${Math.floor(share * 100)} %`
    : `${barOf(share, cells)}${String(Math.floor(share * 100)).padStart(3)} %`

function receivedText({ received }: ProgressState, between: string): string {
  if (received === undefined) return ''
  const { bytes: count, expected } = received
  return expected === undefined ? bytes(count) : `${bytes(count)}${between}${bytes(expected)}`
}

/** A share as a bar; part of a cell is a thin half. */
function barOf(share: number, cells: number): string {
  const halves = Math.floor(share * cells * 2)
  const full = '━'.repeat(Math.floor(halves / 2)) + (halves % 2 === 1 ? '╸' : '')
  return `${full.padEnd(cells, '·')} `
}

function rateOf({ itemsPerSecond, bytesPerSecond, noun }: ProgressState, isWide: boolean): string {
  if (bytesPerSecond !== undefined) return `${short(bytesPerSecond / 1e6, 2)} MB/s`
  if (itemsPerSecond === undefined) return ''
  const what = isWide ? ` ${noun}` : ''
  return itemsPerSecond >= 1
    ? `${short(itemsPerSecond, 2)}${what}/s`
    : `${short(itemsPerSecond * 60, 2)}${what}/min`
}

/** The text where it fits in `columns`, else its beginning and end around an ellipsis. */
export const cutMiddle = (text: string, columns: number): string =>
  withoutMiddle(text, columns, Math.ceil((columns - 1) / 2))

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

/** Who is told how far work is. */
type Listener = (event: ProgressEvent) => void

/** A line on a terminal that says how far work is; none in a pipe, and none when `quiet`. Text written meanwhile stands above it. */
export function progressOn(
  terminal: Pick<Terminal, 'status' | 'errColumns' | 'isErrTerminal' | 'paintErr'>,
  quiet: boolean,
  { now, every }: Clock = clock,
): Listener {
  if (quiet || !terminal.isErrTerminal) return () => {}
  let last: ProgressEvent | undefined
  let pace: Pace
  let bytePace: Pace | undefined
  let [begun, name] = [0, '']
  let stop = () => {}

  function draw(): void {
    if (last === undefined) return
    const time = now()
    const { phase, noun, done, items, work, total, unit, received } = last
    // the first of several that run at once says little about their pace
    const isKnown = done > 0 && done >= begun - done
    const share = total > 0 ? Math.min(1, work / total) : done / items
    const { bytes = 0 } = received ?? {}
    const left = [
      ...(isKnown ? [pace.secondsLeft(total - work, time)] : []),
      ...(received?.expected === undefined ? [] : [bytePace?.secondsLeft(received.expected - bytes, time)]),
    ].filter((seconds) => seconds !== undefined)
    const ofWork =
      unit === 'bytes' ? { bytesPerSecond: pace.workRate(time) } : { itemsPerSecond: pace.itemRate(time) }
    const state = {
      ...{ label: phase, noun, done, items, name, received },
      ...(items > 0 && { share }),
      // all of it has to be computed, and to come
      ...(left.length > 0 && { secondsLeft: Math.max(...left) }),
      ...(bytes > 0 ? { bytesPerSecond: bytePace?.workRate(time) } : isKnown && ofWork),
    }
    // the last column stays free: a terminal that is written full may go to the next line
    terminal.status(terminal.paintErr.dim(progressLine(state, terminal.errColumns - 1)))
  }

  return (event) => {
    const before = last
    last = event
    const more = (event.received?.bytes ?? 0) - (event.kind === 'start' ? 0 : (before?.received?.bytes ?? 0))
    switch (event.kind) {
      case 'start':
        stop()
        pace = createPace(now())
        bytePace = undefined
        ;[begun, name] = [0, '']
        draw()
        stop = every(REFRESH_MILLISECONDS, draw)
        break
      case 'begin':
        begun++
        name = event.name ?? ''
        break
      case 'done':
        pace.step(event.work - (before?.work ?? 0), now())
        break
      case 'end':
        stop()
        terminal.status('')
    }
    // threads that start and servers that think it over say nothing about the line
    if (more > 0 && bytePace === undefined) bytePace = createPace(now())
    else if (more > 0) bytePace?.step(more, now())
  }
}

/**
 * A line on standard error that stands as long as one piece of work goes on. Only on a terminal, and not when `quiet`. It stands
 * still, because computations don't return to the event loop; reading does.
 */
export function statusOn(
  terminal: Pick<Terminal, 'err' | 'status' | 'errColumns' | 'isErrTerminal' | 'paintErr'>,
  quiet: boolean,
): Listener {
  if (quiet || !terminal.isErrTerminal) return () => {}
  const reading = progressOn(terminal, quiet)
  return (event) => {
    const { kind, phase, name } = event
    if (phase === 'reading') reading(event)
    else if (kind === 'start') terminal.err(terminal.paintErr.dim(`${phase} ${name} …`))
    else if (kind === 'end') terminal.err(CLEAR_LINE)
  }
}

/** Writes lines that a user should know of, and that stop nothing, to standard error; nothing when `quiet`. */
export function noticesTo(terminal: Terminal, quiet: boolean): (line: string) => void {
  return (line) => {
    if (!quiet) terminal.err(`${terminal.paintErr.yellow('lora-svd:')} ${line}\n`)
  }
}
