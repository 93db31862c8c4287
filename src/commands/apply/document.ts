import { ExitCode } from '../../errors.ts'
import { jsonDocument } from '../../report/json.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { type OutputFlags, print, watchedOn, withoutHow } from '../print.ts'
import { apply } from './apply.ts'
import type { ApplyOptions } from './options.ts'
import type { AppliedTensor, ApplyPreview, ApplyResult, PlannedTensor } from './result.ts'
import { adviceText } from './sentences.ts'
import { applyTables } from './text.ts'

export type ApplyFlags = ApplyOptions & OutputFlags

/** Applies and prints what came of it, or what would. Gives the exit code: whether all of each adapter is in. */
export async function printApply(flags: ApplyFlags, terminal: Terminal): Promise<number> {
  const result = await terminal.interruptible((signal) =>
    apply({ ...withoutHow(flags), ...watchedOn(terminal, flags, signal) }),
  )
  await print(
    terminal,
    flags,
    () => applyDocument(result),
    () => applyTables(result, terminal),
  )
  return result.holds ? ExitCode.ok : ExitCode.checkFailed
}

/** The JSON document of `apply`, and of what it would do; its fields are those of schemas/apply-1.json. */
export function applyDocument(result: ApplyResult | ApplyPreview) {
  const isDone = 'seconds' in result
  const { source, layers, totals, untied, vocabulary, ignored, advice, output, warnings, holds } = result
  return jsonDocument('apply', 1, {
    dryRun: !isDone,
    source,
    layers: layers.map(layerFields),
    totals,
    ...(untied !== undefined && { untied }),
    ...(vocabulary !== undefined && { vocabulary }),
    ignored,
    advice: advice.map((one) => ({ ...one, text: adviceText(one) })),
    holds,
    output,
    ...(isDone ? { resumed: result.resumed, seconds: result.seconds } : { resumable: result.resumable }),
    warnings,
  })
}

/** What rounding leaves is the relative error of the written layer, as other commands call it. */
const layerFields = (layer: PlannedTensor | AppliedTensor) =>
  'roundingError' in layer ? { ...layer, relativeError: layer.roundingError } : layer
