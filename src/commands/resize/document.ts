import { ExitCode } from '../../errors.ts'
import { jsonDocument } from '../../report/json.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { combinedFields } from '../combined.ts'
import { type OutputFlags, print, watchedOn, withoutHow } from '../print.ts'
import type { ResizeOptions } from './options.ts'
import { type ResizeResult, resize } from './resize.ts'
import { resizeTables } from './text.ts'

export type ResizeFlags = ResizeOptions & OutputFlags

/** Resizes and prints what came of it. Gives the exit code: whether what was asked holds, of the whole adapter. */
export async function printResize(flags: ResizeFlags, terminal: Terminal): Promise<number> {
  const result = await terminal.interruptible((signal) =>
    resize({ ...withoutHow(flags), ...watchedOn(terminal, flags, signal) }),
  )
  await print(
    terminal,
    flags,
    () => resizeDocument(result),
    () => resizeTables(result, terminal),
  )
  return result.holds ? ExitCode.ok : ExitCode.checkFailed
}

/** The JSON document of `resize`; its fields are those of schemas/resize-1.json. */
export const resizeDocument = (result: ResizeResult) =>
  jsonDocument('resize', 1, {
    source: result.source,
    isDora: result.isDora,
    ...combinedFields(result),
    seconds: result.seconds,
  })
