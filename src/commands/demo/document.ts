import { ExitCode } from '../../errors.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { type OutputFlags, print, toldOn, withoutHow } from '../print.ts'
import { demo } from './demo.ts'
import { demoDocument } from './json.ts'
import type { DemoOptions } from './options.ts'
import { demoTables } from './text.ts'

export interface DemoFlags extends DemoOptions, OutputFlags {
  /** Print the matrices in the report, as the notebook does. */
  readonly show: boolean
  /** Put the matrices into the JSON document. */
  readonly matrices: boolean
}

/** Runs the experiment and prints what it found. Gives the exit code: whether y is allclose to yRef. */
export async function printDemo(
  { show, matrices, ...flags }: DemoFlags,
  terminal: Terminal,
): Promise<number> {
  const result = await demo({ ...withoutHow(flags), ...toldOn(terminal, flags) })
  await print(
    terminal,
    flags,
    () => demoDocument(result, matrices),
    () => demoTables(result, show, terminal),
  )
  return result.allclose ? ExitCode.ok : ExitCode.checkFailed
}
