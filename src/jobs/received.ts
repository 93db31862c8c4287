import type { ProgressEvent, ReceivedBytes } from './context.ts'

/** Milliseconds between two events that bytes came: a line that people read needs no more. */
const BETWEEN_EVENTS = 100

type Listener = (event: ProgressEvent) => void

/** What is told to a listener, with the bytes that come from elsewhere. */
export interface ProgressWithBytes {
  readonly progress: Listener
  received(bytes: number): void
  /** Nothing comes any more. */
  end(): void
}

const READING = { phase: 'reading', noun: 'files', done: 0, items: 0, total: 0, unit: 'bytes' } as const

/**
 * Puts the bytes that come from elsewhere into what is told of the work in hand. What comes while nothing is in hand, such as headers,
 * is a piece of work of its own, `reading`, which ends where another starts. `now` gives milliseconds.
 */
export function withBytes(listener: Listener, now = () => performance.now()): ProgressWithBytes {
  let inHand: ProgressEvent | undefined
  let [bytes, told] = [0, Number.NEGATIVE_INFINITY]

  const tell = (event: ProgressEvent) => {
    told = now()
    const received = receivedOf(bytes, event.received?.expected)
    const { received: _, ...rest } = event
    const work = event.phase === READING.phase ? bytes : event.work
    listener({ ...rest, work, ...(received !== undefined && { received }) })
  }

  function end(): void {
    if (inHand !== undefined) tell({ ...inHand, kind: 'end' })
    inHand = undefined
  }

  function progress(event: ProgressEvent): void {
    if (event.kind === 'start') {
      if (inHand?.phase === READING.phase) end()
      bytes = 0
    }
    inHand = event.kind === 'end' ? undefined : event
    tell(event)
  }

  function received(count: number): void {
    if (inHand === undefined) progress({ ...READING, kind: 'start', work: 0 })
    bytes += count
    if (now() - told < BETWEEN_EVENTS || inHand === undefined) return
    const { name, ...event } = inHand
    tell({ ...event, kind: 'received' })
  }

  return { progress, received, end }
}

/** A count that the bytes have passed was wrong: then none is told. */
function receivedOf(bytes: number, expected: number | undefined): ReceivedBytes | undefined {
  if (expected !== undefined && bytes <= expected) return { bytes, expected }
  return bytes > 0 ? { bytes } : undefined
}
