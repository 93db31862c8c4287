import { ExitCode } from '../../errors.ts'
import { jsonDocument, jsonNumber } from '../../report/json.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { type OutputFlags, print, watchedOn, withoutHow } from '../print.ts'
import { type ConvertPreview, type ConvertResult, convert } from './convert.ts'
import type { ConvertOptions } from './options.ts'
import { convertPlanTables, convertTables } from './text.ts'

export type ConvertFlags = ConvertOptions & OutputFlags

/** Converts and prints what came of it, or what would. Gives the exit code: whether all of the adapter is in the result. */
export async function printConvert(flags: ConvertFlags, terminal: Terminal): Promise<number> {
  const result = await terminal.interruptible((signal) =>
    convert({ ...withoutHow(flags), ...watchedOn(terminal, flags, signal) }),
  )
  const isDone = 'holds' in result
  await print(
    terminal,
    flags,
    () => (isDone ? convertDocument(result) : convertPlanDocument(result)),
    () => (isDone ? convertTables(result, terminal) : convertPlanTables(result, terminal)),
  )
  return result.dropped.length === 0 ? ExitCode.ok : ExitCode.checkFailed
}

/** The JSON document of `convert`; its fields are those of schemas/convert-1.json. */
export const convertDocument = ({ source, isExact, layers, largestError, ...result }: ConvertResult) =>
  jsonDocument('convert', 1, {
    source,
    exact: isExact,
    largestError: jsonNumber(largestError),
    layers: layers.map(({ isExact, ...layer }) => ({ ...layer, exact: isExact })),
    ...result,
  })

/** The JSON document of `convert --dry-run`; its fields are those of schemas/convert-plan-1.json. */
export const convertPlanDocument = ({ source, ...preview }: ConvertPreview) =>
  jsonDocument('convert-plan', 1, { source, ...preview })
