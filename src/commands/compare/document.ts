import { ExitCode } from '../../errors.ts'
import { jsonDocument, jsonNumber } from '../../report/json.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { type OutputFlags, print, watchedOn, withoutHow } from '../print.ts'
import { compare } from './compare.ts'
import type { CompareOptions } from './options.ts'
import type { CompareResult, OverlapFigures, SubspaceFigures } from './result.ts'
import { compareTables } from './text.ts'

export type CompareFlags = CompareOptions & OutputFlags

/** Compares and prints what was found. Gives the exit code: nothing is promised, so that nothing can fail to hold. */
export async function printCompare(flags: CompareFlags, terminal: Terminal): Promise<number> {
  const result = await terminal.interruptible((signal) =>
    compare({ ...withoutHow(flags), ...watchedOn(terminal, flags, signal) }),
  )
  await print(
    terminal,
    flags,
    () => compareDocument(result),
    () => compareTables(result, terminal),
  )
  return ExitCode.ok
}

/** The JSON document of `compare`; its fields are those of schemas/compare-1.json. */
export const compareDocument = (result: CompareResult) =>
  jsonDocument('compare', 1, {
    source: result.source,
    adapters: result.adapters,
    layers: result.layers.map(({ ranks, norms, ...layer }) => ({
      ...layer,
      ranks: ranks.map((rank) => rank ?? null),
      norms: norms.map((norm) => norm ?? null),
    })),
    alone: result.alone,
    totals: result.totals,
    cosines: tableField(result.cosines),
    overlaps: { columns: tableField(result.overlaps.columns), rows: tableField(result.overlaps.rows) },
    kept: tableField(result.kept),
    pairs: result.pairs.map(({ adapters, layers, ...figures }) => ({
      adapters,
      ...overlapFields(figures),
      layers: layers.map(({ name, shape, ranks, angles, ...own }) => ({
        ...{ name, shape, ranks, ...overlapFields(own) },
        ...(angles !== undefined && { angles }),
      })),
    })),
    groups: result.groups,
    notCompared: result.notCompared,
    warnings: result.warnings,
    engine: result.engine,
    seconds: result.seconds,
  })

const tableField = (table: readonly (readonly number[])[]) => table.map((row) => row.map(jsonNumber))

/** What there is not, with an adapter that does nothing, is null. */
const overlapFields = ({ cosine, overlap, chance, kept }: OverlapFigures) => ({
  cosine: jsonNumber(cosine),
  overlap: subspaceFields(overlap),
  chance: subspaceFields(chance),
  kept: kept.map(jsonNumber),
})

const subspaceFields = ({ columns, rows }: SubspaceFigures) => ({
  columns: jsonNumber(columns),
  rows: jsonNumber(rows),
})
