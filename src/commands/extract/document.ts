import type { WeighedOutput } from '../../combine/result.ts'
import { ExitCode } from '../../errors.ts'
import { intervalFields, jsonDocument, relativeChangeFields } from '../../report/json.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { type OutputFlags, print, watchedOn, withoutHow } from '../print.ts'
import { type ShardFlags, shardOf } from '../shard-choice.ts'
import {
  notCarriedFields,
  relativeErrorFields,
  totalErrorFields,
  wholeTensorFields,
} from '../verify/document.ts'
import { extract } from './extract.ts'
import type { ExtractOptions } from './options.ts'
import { previewTables } from './preview-text.ts'
import type { ExtractedLayer, ExtractPreview, ExtractResult, ExtractShard } from './result.ts'
import { brokenName, brokenText, extractVerdict, hasRoom, leftText } from './sentences.ts'
import { shardTables } from './shard-text.ts'
import { extractTables } from './text.ts'

/** As `ExtractOptions`, with the ways in which the command line says which shard. */
export type ExtractFlags = Omit<ExtractOptions, 'shard'> & OutputFlags & ShardFlags

/** Extracts and prints what came of it, or what would. Gives the exit code: whether what was asked holds, of the whole fine-tune. */
export async function printExtract(flags: ExtractFlags, terminal: Terminal): Promise<number> {
  const result = await terminal.interruptible((signal) =>
    extract({ ...optionsOf(flags, terminal.env), ...watchedOn(terminal, flags, signal) }),
  )
  if ('kept' in result) {
    await print(
      terminal,
      flags,
      () => shardDocument(result),
      () => shardTables(result, terminal),
    )
    return ExitCode.ok
  }
  const isDone = 'holds' in result
  await print(
    terminal,
    flags,
    () => (isDone ? extractDocument(result) : previewDocument(result)),
    () => (isDone ? extractTables(result, terminal) : previewTables(result, terminal)),
  )
  return extractExitCode(result)
}

/** How the command ends: also of a plan that can't come to an end. */
export function extractExitCode(result: ExtractResult | ExtractPreview): number {
  if ('holds' in result) return result.holds ? ExitCode.ok : ExitCode.checkFailed
  if (!hasRoom(result)) return ExitCode.systemFailed
  const isSound = result.totals.unmatched === 0 && (result.join?.isReady ?? true)
  return isSound ? ExitCode.ok : ExitCode.checkFailed
}

function optionsOf(flags: ExtractFlags, env: Terminal['env']): ExtractOptions {
  const { shard, shards, ...options } = withoutHow(flags)
  return { ...options, shard: shardOf(flags, env) }
}

/** The JSON document of `extract`; its fields are those of schemas/extract-1.json. */
export function extractDocument(result: ExtractResult) {
  const { source, rule, layout, layers, saved, unchanged, notCarried, totals, budget } = result
  return jsonDocument('extract', 1, {
    source,
    rule,
    layout,
    layers: layers.map(layerFields),
    saved: saved.map(wholeTensorFields),
    unchanged,
    notCarried: notCarried.map((left) => notCarriedFields({ ...left, reason: leftText(left) })),
    totals: {
      ...totals,
      ...totalErrorFields(totals),
      optimalError: intervalFields(totals.optimalError),
      ...(totals.output !== undefined && {
        output: { ...totals.output, optimalError: intervalFields(totals.output.optimalError) },
      }),
    },
    ...(budget !== undefined && { budget }),
    verdict: extractVerdict(result),
    broken: result.broken.map((broken) => ({ name: brokenName(broken), text: brokenText(broken) })),
    holds: result.holds,
    gaps: result.gaps,
    output: result.output,
    resumed: result.resumed,
    ...(result.joined !== undefined && { joined: result.joined }),
    warnings: result.warnings,
    engine: result.engine,
    seconds: result.seconds,
  })
}

function layerFields({ relativeError, optimalError, relativeChange, output, ...layer }: ExtractedLayer) {
  return {
    ...layer,
    ...(output !== undefined && { output: outputFields(output) }),
    ...relativeErrorFields(relativeError),
    optimalError: intervalFields(optimalError),
    ...relativeChangeFields(relativeChange),
  }
}

const outputFields = ({ optimalError, relativeError, ...output }: WeighedOutput) => ({
  ...output,
  ...relativeErrorFields(relativeError),
  optimalError: intervalFields(optimalError),
})

/** The JSON document of `extract --dry-run`; its fields are those of schemas/extract-plan-1.json. */
export function previewDocument(preview: ExtractPreview) {
  const { source, rule, layout, layers, saved, unchanged, notCarried, totals } = preview
  const { modules, gaps, output, resumable, shard, join, warnings } = preview
  return jsonDocument('extract-plan', 1, {
    source,
    rule,
    layout,
    layers,
    saved,
    unchanged,
    notCarried: notCarried.map((left) => ({ name: left.name, reason: leftText(left) })),
    totals,
    modules,
    gaps,
    output,
    resumable,
    ...(shard !== undefined && { shard }),
    ...(join !== undefined && { join }),
    warnings,
  })
}

/** The JSON document of `extract --shard`; its fields are those of schemas/extract-shard-1.json. */
export const shardDocument = (result: ExtractShard) => jsonDocument('extract-shard', 1, result)
