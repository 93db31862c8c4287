import { ExitCode, LoraSvdError } from '../errors.ts'
import { runBeforeEnd } from '../io/temporary.ts'
import { removeTemporaries } from '../io/write-atomic.ts'

/** 128 + the signal's number, as shells say it. */
const EXIT_CODES = { SIGINT: ExitCode.interrupted, SIGTERM: 143, SIGHUP: 129 } as const

function tidyUp(): void {
  removeTemporaries()
  runBeforeEnd()
}

/**
 * Runs `write` so that an interruption deletes its temporary files before the process ends. Outside of it the signals keep
 * their default, which also stops a computation that never returns to the event loop.
 */
export async function removingTemporaries<T>(write: () => Promise<T>): Promise<T> {
  const handlers = Object.entries(EXIT_CODES).map(([signal, exitCode]) => {
    const handler = () => {
      tidyUp()
      process.exit(exitCode)
    }
    process.once(signal, handler)
    return { signal, handler }
  })
  try {
    return await write()
  } finally {
    for (const { signal, handler } of handlers) process.off(signal, handler)
  }
}

/** How long work may take to end after it was interrupted, in milliseconds: to a person, still at once. */
const GRACE = 1500

const INTERRUPTIONS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Runs work that leaves the event loop free, with a signal that an interruption aborts: the reason is LoraSvdError
 * 'interrupted' with `message`. After SIGINT what the work then throws is thrown here; after the others the process ends
 * by the signal when the work has ended. Where it doesn't end soon, or on a second interruption, the process ends at once
 * by the signal, which also stops the call of a library in another thread; temporary files are deleted before.
 */
export async function whileInterruptible<T>(
  work: (signal: AbortSignal) => Promise<T>,
  message = 'interrupted',
): Promise<T> {
  const controller = new AbortController()
  let received: NodeJS.Signals | undefined
  let grace: NodeJS.Timeout | undefined
  const onSignal = (signal: NodeJS.Signals) => {
    if (received !== undefined) endBy(signal)
    received = signal
    grace = setTimeout(() => endBy(signal), GRACE)
    controller.abort(new LoraSvdError('interrupted', message))
  }
  for (const signal of INTERRUPTIONS) process.on(signal, onSignal)
  try {
    return await work(controller.signal)
  } finally {
    clearTimeout(grace)
    for (const signal of INTERRUPTIONS) process.off(signal, onSignal)
    if (received !== undefined && received !== 'SIGINT') endBy(received)
  }
}

/** Ends the process as the signal does by itself. process.exit would wait for all threads. */
function endBy(signal: NodeJS.Signals): void {
  tidyUp()
  process.removeAllListeners(signal)
  process.kill(process.pid, signal)
}
