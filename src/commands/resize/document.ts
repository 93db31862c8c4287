import { ExitCode } from '../../errors.ts'
import { jsonDocument } from '../../report/json.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { combinedFields } from '../combined.ts'
import { type OutputFlags, print, watchedOn, withoutHow } from '../print.ts'
import type { ResizeOptions } from './options.ts'
import { type ResizePreview, type ResizeResult, resize } from './resize.ts'
import { resizePlanTables, resizeTables } from './text.ts'

export type ResizeFlags = ResizeOptions & OutputFlags

/** Resizes and prints what came of it, or what would. Gives the exit code: whether what was asked holds, of the whole adapter. */
export async function printResize(flags: ResizeFlags, terminal: Terminal): Promise<number> {
  const result = await terminal.interruptible((signal) =>
    resize({ ...withoutHow(flags), ...watchedOn(terminal, flags, signal) }),
  )
  const isDone = 'holds' in result
  await print(
    terminal,
    flags,
    () => (isDone ? resizeDocument(result) : resizePlanDocument(result)),
    () => (isDone ? resizeTables(result, terminal) : resizePlanTables(result, terminal)),
  )
  return (isDone ? result.holds : result.lost.length === 0) ? ExitCode.ok : ExitCode.checkFailed
}

/** The JSON document of `resize`; its fields are those of schemas/resize-1.json. */
export const resizeDocument = (result: ResizeResult) =>
  jsonDocument('resize', 1, {
    source: result.source,
    isDora: result.isDora,
    ...combinedFields(result),
    seconds: result.seconds,
  })

/** The JSON document of `resize --dry-run`; its fields are those of schemas/resize-plan-1.json. */
export const resizePlanDocument = ({ source, ...preview }: ResizePreview) =>
  jsonDocument('resize-plan', 1, { source, ...preview })
