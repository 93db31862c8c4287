import { CommanderError } from 'commander'
import { ExitCode, exitCodeOf, LoraSvdError } from '../errors.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { jsonDocument, writeJson } from './json.ts'

/** What an error is reported as: one line, and a code. */
interface Failure {
  readonly code: string
  readonly message: string
  readonly exitCode: number
  readonly file?: string | undefined
  readonly tensor?: string | undefined
}

/** Reports any error: one line on stderr, with `json` a document on stdout too. Gives the exit code. */
export async function reportError(
  error: unknown,
  terminal: Terminal,
  wish: { readonly json: boolean; readonly debug: boolean },
): Promise<number> {
  const { exitCode, ...failure } = describe(error)
  terminal.err(`${terminal.paintErr.red('lora-svd:')} ${failure.message}\n`)
  if (wish.debug && error instanceof Error) terminal.err(`${error.stack}\n`)
  if (wish.json) await writeJson(terminal, jsonDocument('error', 1, { error: failure }))
  return exitCode
}

function describe(error: unknown): Failure {
  const exitCode = exitCodeOf(error)
  if (error instanceof LoraSvdError) {
    const { code, message, file, tensor } = error
    return { code, message, exitCode, file, tensor }
  }
  if (error instanceof CommanderError)
    return { code: 'bad-usage', message: usageMessage(error), exitCode: ExitCode.badInput }
  const text = error instanceof Error ? error.message : String(error)
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

/** commander's message on one line, with where to look if it doesn't say. */
function usageMessage(error: CommanderError): string {
  const [first, ...rest] = error.message.replace(/^error: /, '').split('\n')
  const hint = rest.join(' ').trim()
  return hint === '' ? `${first}${first.endsWith('.') ? '' : ';'} see lora-svd --help` : `${first} ${hint}`
}
