import { CLEAR_LINE } from '../terminal/status-line.ts'
import type { Terminal } from '../terminal/terminal.ts'

/**
 * Runs `work` while a line on standard error says what is being done, and takes the line away again. Only on a terminal, and
 * not when `quiet`. The line stands still, because computations don't return to the event loop.
 */
export async function withStatus<T>(
  terminal: Pick<Terminal, 'err' | 'isErrTerminal' | 'paintErr'>,
  quiet: boolean,
  text: string,
  work: () => T | Promise<T>,
): Promise<T> {
  if (quiet || !terminal.isErrTerminal) return work()
  terminal.err(terminal.paintErr.dim(`${text} …`))
  try {
    return await work()
  } finally {
    terminal.err(CLEAR_LINE)
  }
}
