import { Chalk, type ChalkInstance } from 'chalk'
import { errnoOf, osError } from '../errors.ts'
import type { Interruptible } from './interrupt.ts'

/** Back to the start of the line, and clear it. */
export const CLEAR_LINE = '\r\u001b[K'

/** A line that stands below all that is written to a terminal, until it is taken away. */
export interface StatusLine {
  /** What to write to show this line, in place of the one that stands there; '' takes it away. */
  show(line: string): string
  /** What to write for `text` to stand above the line. Text that doesn't end its own line hides it until it is shown again. */
  above(text: string): string
}

export function statusLine(): StatusLine {
  let shown = ''
  return {
    show(line) {
      if (line === shown) return ''
      const written = (shown === '' ? '' : CLEAR_LINE) + line
      shown = line
      return written
    },
    above(text) {
      if (shown === '') return text
      const line = text.endsWith('\n') ? shown : ''
      shown = line
      return CLEAR_LINE + text + line
    },
  }
}

/** Chalk's levels: 0 none, 1 basic, 2 of 256 colours, 3 true colour. */
export type ColourLevel = 0 | 1 | 2 | 3

export interface ColourRequest {
  /** `--color` (true), `--no-color` (false), or neither. */
  readonly flag: boolean | undefined
  readonly env: Readonly<Record<string, string | undefined>>
  readonly isTerminal: boolean
}

/**
 * How much colour one output stream gets. The first that speaks decides: the flag, NO_COLOR (no-color.org),
 * FORCE_COLOR, TERM=dumb, and whether the stream is a terminal. Chalk itself knows nothing of NO_COLOR.
 */
export function colourLevel({ flag, env, isTerminal }: ColourRequest): ColourLevel {
  const richest = levelOfTerminal(env)
  if (flag !== undefined) return flag ? richest : 0
  if (env.NO_COLOR) return 0
  if (env.FORCE_COLOR !== undefined) return forcedLevel(env.FORCE_COLOR, richest)
  if (env.TERM === 'dumb') return 0
  return isTerminal ? richest : 0
}

function levelOfTerminal({ COLORTERM, TERM = '' }: ColourRequest['env']): ColourLevel {
  if (COLORTERM === 'truecolor' || COLORTERM === '24bit') return 3
  return TERM.includes('256') ? 2 : 1
}

/** FORCE_COLOR=0 or false means none, 1 to 3 the level, anything else some colour: as Node and chalk read it. */
function forcedLevel(value: string, richest: ColourLevel): ColourLevel {
  if (value === '0' || value === 'false') return 0
  return value === '1' || value === '2' || value === '3' ? (Number(value) as ColourLevel) : richest
}

/** Widest layout for a pipe or file, where there is no terminal to ask, and for a terminal that says 0. */
const DEFAULT_COLUMNS = 80
/** Below this tables can't be read; they are laid out for it and the terminal wraps. */
const MIN_COLUMNS = 40

/** A stream that a run of the command line writes to. */
export interface OutputStream {
  readonly isTTY?: boolean | undefined
  readonly columns?: number | undefined
  write(text: string, done?: (error?: Error | null) => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
}

/** What a run of the command line has of the process around it. Tests give it streams of their own. */
export interface ProcessIo {
  readonly stdout: OutputStream
  readonly stderr: OutputStream
  readonly stdin: AsyncIterable<Uint8Array | string>
  readonly env: Record<string, string | undefined>
  /** How work is told of an interruption. */
  readonly interruptible: Interruptible
}

/** The streams of one run, with what a report must know of them. */
export interface Terminal extends Pick<ProcessIo, 'env' | 'interruptible'> {
  /**
   * Writes to standard output and resolves when the reader has taken it. Rejects with LoraSvdError `system` where the
   * machine fails, as a full disk does.
   */
  out(text: string): Promise<void>
  /** Writes to standard error. */
  err(text: string): void
  /**
   * Keeps a line below all that is written, in place of the one before; '' takes it away. It has to be shorter than
   * `errColumns`. Does nothing where standard error is no terminal, or one that can't clear a line.
   */
  status(line: string): void
  readonly columns: number
  /** The width of standard error, as it is now. */
  readonly errColumns: number
  readonly isOutTerminal: boolean
  readonly isErrTerminal: boolean
  readonly stdin: ProcessIo['stdin']
  readonly paint: ChalkInstance
  readonly paintErr: ChalkInstance
}

/**
 * The terminal that the streams of `io` make; `flag` is what the command line says of colour. A reader that closes the pipe ends
 * the output, not the run: that is no error.
 */
export function terminalOf(io: ProcessIo, flag: boolean | undefined): Terminal {
  const { stdout, stderr, stdin, env, interruptible } = io
  const line = statusLine()
  const canClear = stderr.isTTY === true && env.TERM !== 'dumb'
  let readerGone = false
  stdout.on('error', (error) => {
    readerGone ||= errnoOf(error) === 'EPIPE'
  })
  // What can't be written to standard error has nowhere else to go.
  stderr.on('error', () => {})
  const paintFor = (stream: OutputStream) =>
    new Chalk({ level: colourLevel({ flag, env, isTerminal: stream.isTTY === true }) })
  return {
    out: (text) =>
      new Promise((resolve, reject) => {
        if (readerGone) return resolve()
        // both streams lead to one terminal
        if (stdout.isTTY) stderr.write(line.show(''))
        stdout.write(text, (error) => {
          if (error && errnoOf(error) !== 'EPIPE') reject(osError(error, 'write it', 'standard output'))
          else resolve()
        })
      }),
    err: (text) => {
      stderr.write(line.above(text))
    },
    status: (text) => {
      if (canClear) stderr.write(line.show(text))
    },
    columns: Math.max(MIN_COLUMNS, stdout.columns || DEFAULT_COLUMNS),
    get errColumns() {
      return stderr.columns || DEFAULT_COLUMNS
    },
    isOutTerminal: stdout.isTTY === true,
    isErrTerminal: stderr.isTTY === true,
    stdin,
    env,
    interruptible,
    paint: paintFor(stdout),
    paintErr: paintFor(stderr),
  }
}
