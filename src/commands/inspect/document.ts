import { ExitCode } from '../../errors.ts'
import { orderOf, roundingLevelOf, valueAt } from '../../linalg/spectrum/measures.ts'
import type { IntegerRange, Spectrum } from '../../linalg/spectrum/spectrum.ts'
import { intervalFields, jsonDocument, jsonNumber, relativeChangeFields } from '../../report/json.ts'
import { note } from '../../report/notes.ts'
import { partDocument } from '../../shards/part.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { grouped } from '../../text/numbers.ts'
import { printable } from '../../text/quote.ts'
import { type PartInWords, partTables } from '../part-text.ts'
import { type OutputFlags, print, watchedOn, withoutHow } from '../print.ts'
import { assertKept } from '../shard-choice.ts'
import { inspect } from './inspect.ts'
import { nextNotes } from './next/text.ts'
import type { InspectJoinOptions, InspectOptions } from './options.ts'
import { ENERGY_SHARES, type InspectResult, type MatrixReport, type OutputFindings } from './result.ts'
import type { InspectShard } from './shard.ts'
import { notesOf } from './text/facts.ts'
import { inspectReport } from './text/text.ts'
import { countedSubjects, modelVerdict } from './verdict.ts'

/** As the command line has them: what it leaves out is not there where it asks for a part, or for the report of parts. */
export type InspectFlags = (InspectOptions | InspectJoinOptions) & OutputFlags

/** Inspects and prints what was found. Gives the exit code: whether all entries are finite and all has its counterpart. */
export async function printInspect(flags: InspectFlags, terminal: Terminal): Promise<number> {
  if ('shard' in flags) assertKept(flags)
  const options = withoutHow(flags) as InspectOptions | InspectJoinOptions
  const result = await terminal.interruptible((signal) =>
    inspect({ ...options, ...watchedOn(terminal, flags, signal) }),
  )
  if ('shard' in result) {
    await print(
      terminal,
      flags,
      () => inspectShardDocument(result),
      () => partTables(partInWords(result), terminal),
    )
    return ExitCode.ok
  }
  if (result.next !== undefined && !flags.json) await printNext(result, flags, terminal)
  else {
    await print(
      terminal,
      flags,
      () => inspectDocument(result),
      () => inspectReport(result, terminal),
    )
  }
  const isWhole = result.nonFinite.length === 0 && !result.totals.unmatched
  return isWhole ? ExitCode.ok : ExitCode.checkFailed
}

/** The JSON document of `inspect --shard`, as it is kept too; its fields are those of schemas/inspect-shard-1.json. */
export const inspectShardDocument = ({ kept: _, ...part }: InspectShard) => partDocument('inspect', part)

function partInWords(part: InspectShard): PartInWords {
  const { shard, source, subject, totals, kept, seconds, engine, warnings } = part
  return {
    command: 'inspect',
    shard,
    subject: source.base === undefined ? source.path : `${source.path} − ${source.base}`,
    holds: `${grouped(totals.matrices)} of ${countedSubjects(totals.ofMatrices, subject)}`,
    work: totals.work,
    kept,
    seconds,
    engine,
    warnings,
  }
}

/** The config alone on standard output, so that it can go into a file; what is to be known of it on standard error. */
async function printNext(result: InspectResult, { quiet }: OutputFlags, terminal: Terminal): Promise<void> {
  const next = result.next!
  await terminal.out(next.text)
  if (quiet) return
  const screen = { paint: terminal.paintErr, columns: terminal.errColumns }
  const lines = [
    ...nextNotes(next).map((line) => note(printable(line), String, screen)),
    ...notesOf(result, screen),
  ]
  terminal.err(`${lines.join('\n')}\n`)
}

/** The JSON document of `inspect`; its fields are those of schemas/inspect-1.json. */
export function inspectDocument(result: InspectResult) {
  const { source, subject, matrices, unchanged, nonFinite, skipped, totals, costs, recommended } = result
  return jsonDocument('inspect', 1, {
    source,
    subject,
    matrices: matrices.map(matrixFields),
    unchanged,
    nonFinite,
    skipped,
    totals: {
      ...totals,
      ...(totals.relativeChange !== undefined && relativeChangeFields(totals.relativeChange)),
    },
    costs: costs.map(({ rank, parameters, bytes, relativeError }) => ({
      rank,
      parameters,
      bytes,
      relativeError: intervalFields(relativeError),
    })),
    ...(recommended && { recommended: { ...recommended, rank: recommended.rank ?? null } }),
    verdict: modelVerdict(result),
    ...(result.next && { next: { ...result.next, kept: intervalFields(result.next.kept) } }),
    warnings: result.warnings,
    engine: result.engine,
    seconds: result.seconds,
  })
}

function matrixFields(matrix: MatrixReport) {
  const { name, shape, storedShape, dtype, bytes, spectrum, noise, base, adapter, verdict } = matrix
  const { frobenius, singularValues, complete, method, failureProbability, excess, next } = spectrum
  return {
    name,
    shape,
    storedShape,
    dtype,
    bytes,
    frobenius,
    spectral: singularValues[0] ?? 0,
    spectralInterval: intervalFields(matrix.spectral),
    ...rankFields(matrix),
    singularValues: Array.from(singularValues),
    ...(!complete && { upper: upperBounds(spectrum) }),
    rounding: roundingLevelOf(spectrum),
    complete,
    ...(!complete && { excess: jsonNumber(excess), next: intervalFields(next) }),
    method,
    failureProbability,
    ...(base && { base: baseFields(base) }),
    ...(noise && { noise: noiseFields(noise) }),
    ...(adapter && { adapter }),
    ...(matrix.output && { output: outputFields(matrix.output) }),
    verdict,
  }
}

function outputFields(output: OutputFindings) {
  const { moments, samples, floored, spectrum, energyRanks, stableRank, verdict } = output
  const { frobenius, singularValues, complete } = spectrum
  return {
    ...{ moments, floored, ...(samples !== undefined && { samples }) },
    ...{ frobenius, singularValues: Array.from(singularValues), complete },
    stableRankInterval: intervalFields(stableRank),
    energyRanks: Object.fromEntries(ENERGY_SHARES.map((share) => [share, known(energyRanks[`${share}`])])),
    energyRankRanges: energyRanks,
    verdict,
  }
}

function baseFields({
  dtype,
  frobenius,
  relativeChange,
  spectral,
  dominance,
  intruders,
}: NonNullable<MatrixReport['base']>) {
  return {
    dtype,
    frobenius,
    ...relativeChangeFields(relativeChange),
    ...(spectral && { spectral: intervalFields(spectral) }),
    ...(dominance && { dominance: intervalFields(dominance) }),
    ...(intruders && { intruders: { ...intruders, cosines: intruders.cosines.map(intervalFields) } }),
  }
}

const upperBounds = (spectrum: Spectrum) =>
  Array.from(spectrum.singularValues, (_, i) => valueAt(spectrum, i).atMost)

/** Each rank where it is known; where it isn't, null, with the range it lies in and the reason beside it. */
function rankFields(matrix: MatrixReport) {
  const { spectrum, rank, stableRank, effectiveRank, energyRanks } = matrix
  const uncertain = ENERGY_SHARES.filter((share) => !isKnown(energyRanks[`${share}`]))
  const incomplete = !isKnown(rank) || effectiveRank === undefined || uncertain.length > 0
  return {
    rank: known(rank),
    ...(!isKnown(rank) && { rankRange: rank }),
    stableRank: stableRank.atMost,
    stableRankInterval: intervalFields(stableRank),
    effectiveRank: effectiveRank ?? null,
    energyRanks: Object.fromEntries(ENERGY_SHARES.map((share) => [share, known(energyRanks[`${share}`])])),
    ...(uncertain.length > 0 && {
      energyRankRanges: Object.fromEntries(uncertain.map((share) => [share, energyRanks[`${share}`]])),
    }),
    ...(incomplete && { nullReason: reasonOf(spectrum) }),
  }
}

function reasonOf(spectrum: MatrixReport['spectrum']): string {
  const [given, order] = [grouped(spectrum.singularValues.length), grouped(orderOf(spectrum))]
  return `only the leading ${given} of ${order} singular values were computed; --full computes all`
}

const isKnown = ({ atLeast, atMost }: IntegerRange) => atLeast === atMost
const known = (range: IntegerRange) => (isKnown(range) ? range.atLeast : null)

function noiseFields({ floor, rankAbove, changedShare, isSubUlp }: NonNullable<MatrixReport['noise']>) {
  return {
    floor,
    rankAbove: known(rankAbove),
    ...(!isKnown(rankAbove) && { rankAboveRange: rankAbove }),
    changedShare,
    isSubUlp,
  }
}
