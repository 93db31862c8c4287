import { CommanderError } from 'commander'
import { ExitCode, exitCodeOf, LoraSvdError, osReason } from '../errors.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { printable } from '../text/quote.ts'
import { jsonDocument, writeJson } from './json.ts'

export interface ErrorWish {
  readonly json: boolean
  readonly debug: boolean
  /** Where to look for help on the command line. */
  readonly help: string
}

/** What an error is reported as: one line, and a code. */
interface Failure {
  readonly code: string
  readonly message: string
  readonly exitCode: number
  readonly file?: string | undefined
  readonly tensor?: string | undefined
}

/** Reports any error: one line on stderr, with `json` a document on stdout too. Gives the exit code. */
export async function reportError(error: unknown, terminal: Terminal, wish: ErrorWish): Promise<number> {
  const { exitCode, ...described } = describe(error, wish.help)
  // A path or an argument in it may hold anything; the message stays one line all the same.
  const failure = { ...described, message: printable(described.message) }
  terminal.err(`${terminal.paintErr.red('lora-svd:')} ${failure.message}\n`)
  if (wish.debug && error instanceof Error) terminal.err(`${error.stack}\n`)
  // Where standard output is what failed, the line on standard error has to do.
  if (wish.json) await writeJson(terminal, jsonDocument('error', 1, { error: failure })).catch(() => {})
  return exitCode
}

function describe(error: unknown, help: string): Failure {
  const exitCode = exitCodeOf(error)
  if (error instanceof LoraSvdError) {
    const { code, message, file, tensor } = error
    return { code, message, exitCode, file, tensor }
  }
  if (error instanceof CommanderError)
    return { code: 'bad-usage', message: usageMessage(error, help), exitCode: ExitCode.badInput }
  const text = error instanceof Error ? error.message : String(error)
  if (isSystemError(error)) return { code: 'system', message: systemMessage(error), exitCode }
  if (
    error instanceof RangeError &&
    /allocation failed|Invalid (typed )?array( buffer)? length/i.test(text)
  ) {
    return {
      code: 'system',
      message: `out of memory (${text}); use a smaller matrix or a machine with more`,
      exitCode,
    }
  }
  return {
    code: 'internal',
    message: `internal error: ${text}; run again with --debug and report it`,
    exitCode,
  }
}

/** An error of the operating system that no one has put in words: a failure of the machine, no defect. */
const isSystemError = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && 'syscall' in error && 'errno' in error && 'code' in error

function systemMessage(error: NodeJS.ErrnoException): string {
  if (error.syscall === 'uv_cwd') return 'the working folder was deleted; change to one that exists (cd)'
  const where = error.path === undefined ? '' : `${error.path}: `
  return `${where}the call ${error.syscall} failed: ${osReason(error)}`
}

/** commander's message as one sentence, with where to look if it has no guess of its own. */
function usageMessage({ message }: CommanderError, help: string): string {
  const sentence = message
    .replace(/^error: /, '')
    .replace(
      /( is invalid|for '[^']*')\. (\w)/,
      (_, subject, letter) => `${subject}: ${letter.toLowerCase()}`,
    )
    .replace(/\.$/, '')
  return /\(Did you mean .*\?\)$/.test(sentence)
    ? sentence.replace(/\n(?=\(Did)/, ' ')
    : `${sentence}; see ${help}`
}
