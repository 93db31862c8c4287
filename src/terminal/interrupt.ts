import { ExitCode } from '../errors.ts'
import { removeTemporaries } from '../formats/write-atomic.ts'

/** 128 + the signal's number, as shells say it. */
const EXIT_CODES = { SIGINT: ExitCode.interrupted, SIGTERM: 143 } as const

/**
 * Runs `write` so that an interruption deletes its temporary files before the process ends. Outside of it the signals keep
 * their default, which also stops a computation that never returns to the event loop.
 */
export async function removingTemporaries<T>(write: () => Promise<T>): Promise<T> {
  const handlers = Object.entries(EXIT_CODES).map(([signal, exitCode]) => {
    const handler = () => {
      removeTemporaries()
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
