import type { Terminal } from '../terminal/terminal.ts'

/** Runs the work of a command: gives it the terminal, reports its error, and makes its number the exit code. */
export type Run = (work: (terminal: Terminal) => Promise<number>) => Promise<void>
