import { ExitCode } from '../../errors.ts'
import type { NotCarried, VerifiedTensor } from '../../measure/measure.ts'
import { jsonDocument, jsonNumber, relativeChangeFields } from '../../report/json.ts'
import { partDocument } from '../../shards/part.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { grouped } from '../../text/numbers.ts'
import { counted } from '../../text/quote.ts'
import { type PartInWords, partTables } from '../part-text.ts'
import { type OutputFlags, print, watchedOn, withoutHow } from '../print.ts'
import { assertKept } from '../shard-choice.ts'
import type { VerifyJoinOptions, VerifyOptions } from './options.ts'
import type { VerifyShard } from './shard.ts'
import { verifyTables } from './text.ts'
import { type VerifyResult, verify } from './verify.ts'

/** As the command line has them: what it leaves out is not there where it asks for a part, or for the report of parts. */
export type VerifyFlags = (VerifyOptions | VerifyJoinOptions) & OutputFlags

/** Verifies and prints what was found. Gives the exit code: whether what was asked holds. */
export async function printVerify(flags: VerifyFlags, terminal: Terminal): Promise<number> {
  if ('shard' in flags) assertKept(flags)
  const options = withoutHow(flags) as VerifyOptions | VerifyJoinOptions
  const result = await terminal.interruptible((signal) =>
    verify({ ...options, ...watchedOn(terminal, flags, signal) }),
  )
  if ('shard' in result) {
    await print(
      terminal,
      flags,
      () => verifyShardDocument(result),
      () => partTables(partInWords(result), terminal),
    )
    return ExitCode.ok
  }
  await print(
    terminal,
    flags,
    () => verifyDocument(result),
    () => verifyTables(result, terminal),
  )
  return result.holds ? ExitCode.ok : ExitCode.checkFailed
}

/** The JSON document of `verify --shard`, as it is kept too; its fields are those of schemas/verify-shard-1.json. */
export const verifyShardDocument = ({ kept: _, ...part }: VerifyShard) => partDocument('verify', part)

function partInWords({ shard, source, totals, kept, seconds, warnings }: VerifyShard): PartInWords {
  const { adapter, base, tuned } = source
  return {
    command: 'verify',
    shard,
    subject: `${adapter} against ${tuned} − ${base}`,
    holds: `${grouped(totals.tensors)} of ${counted(totals.ofTensors, 'tensor')}`,
    work: totals.work,
    kept,
    seconds,
    warnings,
  }
}

/** The JSON document of `verify`; its fields are those of schemas/verify-1.json. */
export function verifyDocument(result: VerifyResult) {
  const { source, layers, replaced, notCarried, unchanged, worst, totals, maxError } = result
  return jsonDocument('verify', 1, {
    source,
    layers: layers.map(({ scale, output, ...layer }) => ({
      ...layer,
      ...(output !== undefined && {
        output: { ...output, ...relativeErrorFields(output.relativeError, NOT_FELT) },
      }),
      ...(scale === undefined ? { scale: null, scaleReason: OTHER_SCALES } : { scale }),
      ...relativeErrorFields(layer.relativeError),
    })),
    replaced: replaced.map(wholeTensorFields),
    notCarried: notCarried.map(notCarriedFields),
    unchanged,
    notLoaded: result.notLoaded,
    ...(worst !== undefined && { worst: { ...worst, ...relativeErrorFields(worst.relativeError) } }),
    totals: { ...totalErrorFields(totals), matched: totals.matched, unmatched: totals.unmatched },
    ...(maxError !== undefined && { maxError }),
    ...(result.output !== undefined && { output: outputFields(result.output) }),
    ...(result.maxOutputError !== undefined && { maxOutputError: result.maxOutputError }),
    holds: result.holds,
    warnings: result.warnings,
    seconds: result.seconds,
  })
}

const NOT_FELT = 'inputs feel nothing of the change, and something of what the adapter does'

const outputFields = ({ relativeError, worst, ...output }: NonNullable<VerifyResult['output']>) => ({
  ...output,
  ...relativeErrorFields(relativeError, NOT_FELT),
  ...(worst !== undefined && { worst: { ...worst, ...relativeErrorFields(worst.relativeError, NOT_FELT) } }),
})

const OTHER_SCALES = 'modules that share the tensor have other scales'

/** An error that is infinite is null, with the reason. */
export const relativeErrorFields = (
  error: number,
  reason = 'base and tuned are equal here, and the adapter changes it',
) => (Number.isFinite(error) ? { relativeError: error } : { relativeError: null, reason })

export function wholeTensorFields({
  name,
  relativeError,
  deltaFrobenius,
  residualFrobenius,
}: VerifiedTensor) {
  const reason = Number.isFinite(residualFrobenius)
    ? undefined
    : 'what is stored has another shape than the tuned tensor'
  return {
    name,
    deltaFrobenius,
    residualFrobenius: jsonNumber(residualFrobenius),
    ...relativeErrorFields(relativeError, reason),
  }
}

/** Infinite over all is null too, with the reason beside it. */
export function totalErrorFields({
  relativeError,
  wholeRelativeError,
}: Pick<VerifyResult['totals'], 'relativeError' | 'wholeRelativeError'>) {
  const isKnown = Number.isFinite(relativeError) && Number.isFinite(wholeRelativeError)
  return {
    relativeError: jsonNumber(relativeError),
    wholeRelativeError: jsonNumber(wholeRelativeError),
    ...(!isKnown && { reason: 'nothing changed that is as large as what the adapter does' }),
  }
}

/** The size of a change is null, with the reason, where there is none to give. */
export function notCarriedFields({ name, reason, relativeChange, deltaFrobenius }: NotCarried) {
  return {
    name,
    reason,
    ...(relativeChange === undefined
      ? { relativeChange: null, relativeChangeReason: 'the two have no numbers to compare' }
      : relativeChangeFields(relativeChange)),
    ...(deltaFrobenius !== undefined && { deltaFrobenius }),
  }
}
