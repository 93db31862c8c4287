import { Chalk, type ChalkInstance } from 'chalk'
import { errnoOf, osError } from '../formats/os-error.ts'
import { colourLevel } from './colour.ts'

/** Widest layout for a pipe or file, where there is no terminal to ask. */
const DEFAULT_COLUMNS = 80
/** Below this tables can't be read; they are laid out for it and the terminal wraps. */
const MIN_COLUMNS = 40

/** The streams of one run, with what a report must know of them. */
export interface Terminal {
  /**
   * Writes to standard output and resolves when the reader has taken it. Rejects with LoraSvdError `system` where the
   * machine fails, as a full disk does.
   */
  out(text: string): Promise<void>
  /** Writes to standard error. */
  err(text: string): void
  readonly columns: number
  readonly isOutTerminal: boolean
  readonly isErrTerminal: boolean
  readonly stdin: NodeJS.ReadStream
  readonly paint: ChalkInstance
  readonly paintErr: ChalkInstance
}

/** The streams of this process. A reader that closes the pipe ends the output, not the run: that is no error. */
export function processTerminal(process: NodeJS.Process, flag: boolean | undefined): Terminal {
  const { stdout, stderr, env } = process
  let readerGone = false
  stdout.on('error', (error) => {
    readerGone ||= errnoOf(error) === 'EPIPE'
  })
  // What can't be written to standard error has nowhere else to go.
  stderr.on('error', () => {})
  const paintFor = (stream: NodeJS.WriteStream) =>
    new Chalk({ level: colourLevel({ flag, env, isTerminal: stream.isTTY === true }) })
  return {
    out: (text) =>
      new Promise((resolve, reject) => {
        if (readerGone) return resolve()
        stdout.write(text, (error) => {
          if (error && errnoOf(error) !== 'EPIPE') reject(osError(error, 'write it', 'standard output'))
          else resolve()
        })
      }),
    err: (text) => {
      stderr.write(text)
    },
    columns: Math.max(MIN_COLUMNS, stdout.columns ?? DEFAULT_COLUMNS),
    isOutTerminal: stdout.isTTY === true,
    isErrTerminal: stderr.isTTY === true,
    // A getter, because looking at process.stdin opens it.
    get stdin() {
      return process.stdin
    },
    paint: paintFor(stdout),
    paintErr: paintFor(stderr),
  }
}
