import { ExitCode, LoraSvdError } from '../errors.ts'
import { runBeforeEnd, whenSomethingIsLeft } from '../io/temporary.ts'

/** 128 + the signal's number, as shells say it. */
const EXIT_CODES = { SIGINT: ExitCode.interrupted, SIGTERM: 143, SIGHUP: 129 } as const

type Interruption = keyof typeof EXIT_CODES

const INTERRUPTIONS = Object.keys(EXIT_CODES) as Interruption[]

/** Works of `whileInterruptible` that go on now: they answer to signals themselves. */
let interruptible = 0

/**
 * From now on an interruption of this process deletes its temporary files and lets go of its locks before the process ends. Outside
 * of the moments in which there are any, the signals keep their default, which also stops a computation that never returns to the
 * event loop.
 */
export function tidyBeforeSignals(): void {
  const onSignal = (signal: Interruption) => {
    if (interruptible > 0) return
    runBeforeEnd()
    process.exit(EXIT_CODES[signal])
  }
  whenSomethingIsLeft((isThere) => {
    for (const signal of INTERRUPTIONS) {
      if (isThere) process.on(signal, onSignal)
      else process.off(signal, onSignal)
    }
  })
}

/** Runs work with a signal that an interruption aborts, and gives what it gives. */
export type Interruptible = <T>(work: (signal: AbortSignal) => Promise<T>) => Promise<T>

/** How long work may take to end after it was interrupted, in milliseconds: to a person, still at once. */
const GRACE = 1500

/** A signal that comes again within so many milliseconds is the same one: Ctrl-C reaches what npx or timeout started twice. */
const SAME_SIGNAL = 300

/**
 * Runs work that leaves the event loop free, with a signal that an interruption of this process aborts: the reason is LoraSvdError
 * 'interrupted'. After SIGINT what the work then throws is thrown here; after the others the process ends
 * by the signal when the work has ended. Where it doesn't end soon, or on a second interruption after that moment, the process ends at once
 * by the signal, which also stops the call of a library in another thread; temporary files are deleted before.
 */
export const whileInterruptible: Interruptible = async (work) => {
  const controller = new AbortController()
  let received: Interruption | undefined
  let grace: NodeJS.Timeout | undefined
  let since = 0
  const onSignal = (signal: Interruption) => {
    if (signal === received && performance.now() - since < SAME_SIGNAL) return
    if (received !== undefined) endBy(signal)
    received = signal
    since = performance.now()
    grace = setTimeout(() => endBy(signal), GRACE)
    controller.abort(new LoraSvdError('interrupted', 'interrupted'))
  }
  for (const signal of INTERRUPTIONS) process.on(signal, onSignal)
  interruptible++
  try {
    return await work(controller.signal)
  } finally {
    interruptible--
    clearTimeout(grace)
    for (const signal of INTERRUPTIONS) process.off(signal, onSignal)
    if (received !== undefined && received !== 'SIGINT') endBy(received)
  }
}

/** Ends the process as the signal does by itself. process.exit would wait for all threads. */
function endBy(signal: NodeJS.Signals): void {
  runBeforeEnd()
  process.removeAllListeners(signal)
  process.kill(process.pid, signal)
}
