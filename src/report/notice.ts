import type { Terminal } from '../terminal/terminal.ts'

/** Writes lines that a user should know of, and that stop nothing, to standard error; nothing when `quiet`. */
export function noticesTo(terminal: Terminal, quiet: boolean): (line: string) => void {
  return (line) => {
    if (!quiet) terminal.err(`${terminal.paintErr.yellow('lora-svd:')} ${line}\n`)
  }
}
