import { ExitCode } from '../../errors.ts'
import { jsonDocument, jsonNumber } from '../../report/json.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { combinedFields } from '../combined.ts'
import { type OutputFlags, print, watchedOn, withoutHow } from '../print.ts'
import { type MergeResult, merge } from './merge.ts'
import type { MergeOptions } from './options.ts'
import { type Overlap, overlapOf } from './overlap.ts'
import { mergeTables } from './text.ts'

export type MergeFlags = MergeOptions & OutputFlags

/** Merges and prints what came of it. Gives the exit code: whether what was asked holds, of all adapters whole. */
export async function printMerge(flags: MergeFlags, terminal: Terminal): Promise<number> {
  const result = await terminal.interruptible((signal) =>
    merge({ ...withoutHow(flags), ...watchedOn(terminal, flags, signal) }),
  )
  await print(
    terminal,
    flags,
    () => mergeDocument(result),
    () => mergeTables(result, terminal),
  )
  return result.holds ? ExitCode.ok : ExitCode.checkFailed
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
