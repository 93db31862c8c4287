import type { CommonOptions, ReadingOptions } from '../jobs/context.ts'
import { writeJson } from '../report/json.ts'
import { noticesTo, progressOn, statusOn } from '../report/progress.ts'
import type { Terminal } from '../terminal/terminal.ts'

/** What every command is told of its output. */
export interface OutputFlags {
  readonly json: boolean
  readonly quiet: boolean
}

/** The flags that say how a command is run and printed; what is left are the options of the function that does its work. */
interface HowFlags extends OutputFlags {
  readonly color?: boolean
  readonly debug?: boolean
}

/** The options of a command without those that are the command line's own. */
export function withoutHow<F extends OutputFlags>(flags: F): Omit<F, keyof HowFlags> {
  const { json, quiet, color, debug, ...options } = flags as F & HowFlags
  return options
}

/** How a command calls the function that does its work: progress and notices on the terminal, whose interruption ends it. */
export const watchedOn = (
  terminal: Terminal,
  { quiet }: OutputFlags,
  signal: AbortSignal,
): ReadingOptions => ({
  ...toldOn(terminal, { quiet }),
  onProgress: progressOn(terminal, quiet),
  signal,
  stdin: terminal.stdin,
  env: terminal.env,
})

/** The same for a computation that doesn't return to the event loop: a line that stands still, and a signal that ends the process. */
export const toldOn = (terminal: Terminal, { quiet }: Pick<OutputFlags, 'quiet'>): CommonOptions => ({
  onProgress: statusOn(terminal, quiet),
  onNotice: noticesTo(terminal, quiet),
})

/** Prints what a command found: as one JSON document, as text, or not at all. */
export async function print(
  terminal: Terminal,
  { json, quiet }: OutputFlags,
  document: () => object,
  text: () => string,
): Promise<void> {
  if (json) await writeJson(terminal, document())
  else if (!quiet) await terminal.out(text())
}
