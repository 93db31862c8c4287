import { ExitCode } from '../../errors.ts'
import { jsonDocument, jsonNumber } from '../../report/json.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { combinedFields } from '../combined.ts'
import { type OutputFlags, print, watchedOn, withoutHow } from '../print.ts'
import { type MergePreview, type MergeResult, merge } from './merge.ts'
import type { MergeOptions } from './options.ts'
import { type Overlap, overlapOf } from './overlap.ts'
import { mergePlanTables, mergeTables } from './text.ts'

export type MergeFlags = MergeOptions & OutputFlags

/** Merges and prints what came of it, or what would. Gives the exit code: whether what was asked holds, of all adapters whole. */
export async function printMerge(flags: MergeFlags, terminal: Terminal): Promise<number> {
  const result = await terminal.interruptible((signal) =>
    merge({ ...withoutHow(flags), ...watchedOn(terminal, flags, signal) }),
  )
  const isDone = 'holds' in result
  await print(
    terminal,
    flags,
    () => (isDone ? mergeDocument(result) : mergePlanDocument(result)),
    () => (isDone ? mergeTables(result, terminal) : mergePlanTables(result, terminal)),
  )
  return (isDone ? result.holds : result.lost.length === 0) ? ExitCode.ok : ExitCode.checkFailed
}

/** The JSON document of `merge`; its fields are those of schemas/merge-1.json. */
export function mergeDocument(result: MergeResult) {
  const { layers, ...fields } = combinedFields(result)
  const count = result.source.adapters.length
  return jsonDocument('merge', 1, {
    source: result.source,
    ...fields,
    layers: layers.map((layer, i) => ({
      ...layer,
      overlap: overlapFields(overlapOf([result.layers[i].inner], count)),
    })),
    overlap: overlapFields(result.overlap),
    seconds: result.seconds,
  })
}

/** A cosine with nothing is null. */
const overlapFields = ({ cosines, ...overlap }: Overlap) => ({
  ...overlap,
  cosines: cosines.map((row) => row.map(jsonNumber)),
})

/** The JSON document of `merge --dry-run`; its fields are those of schemas/merge-plan-1.json. */
export const mergePlanDocument = ({ source, ...preview }: MergePreview) =>
  jsonDocument('merge-plan', 1, { source, ...preview })
