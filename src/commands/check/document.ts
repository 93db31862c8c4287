import { ExitCode } from '../../errors.ts'
import { jsonDocument, jsonNumber } from '../../report/json.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { type OutputFlags, print, watchedOn, withoutHow } from '../print.ts'
import { annotationsOf } from './annotations.ts'
import { check } from './check.ts'
import { findingsOf } from './findings.ts'
import type { CheckOptions } from './options.ts'
import type { CheckResult } from './result.ts'
import { checkTables } from './text.ts'

export type CheckFlags = CheckOptions & OutputFlags

/** Checks and prints what was found. Gives the exit code: 1 where a loader doesn't load all of it, or a defect is an error. */
export async function printCheck(flags: CheckFlags, terminal: Terminal): Promise<number> {
  const result = await terminal.interruptible((signal) =>
    check({ ...withoutHow(flags), ...watchedOn(terminal, flags, signal) }),
  )
  await print(
    terminal,
    flags,
    () => checkDocument(result),
    () => checkTables(result, terminal),
  )
  if (terminal.env.GITHUB_ACTIONS) terminal.err(annotationsOf(findingsOf(result)))
  return result.holds ? ExitCode.ok : ExitCode.checkFailed
}

/** The JSON document of `check`; its fields are those of schemas/check-1.json. */
export const checkDocument = (result: CheckResult) =>
  jsonDocument('check', 1, {
    source: result.source,
    ...(result.format !== undefined && { format: result.format }),
    ...(result.family !== undefined && { family: result.family }),
    modules: result.modules,
    leftOut: result.leftOut,
    whole: result.whole,
    others: result.others,
    ...(result.ranks !== undefined && { ranks: result.ranks }),
    bytes: result.bytes,
    loaders: result.loaders.map(({ reasons, ...loader }) => ({
      ...loader,
      reasons: reasons.map(({ scale, ...reason }) => ({
        ...reason,
        ...(scale !== undefined && {
          scale: { found: jsonNumber(scale.found), expected: jsonNumber(scale.expected) },
        }),
      })),
    })),
    defects: result.defects,
    holds: result.holds,
    readNumbers: result.readNumbers,
    warnings: result.warnings,
    seconds: result.seconds,
  })
