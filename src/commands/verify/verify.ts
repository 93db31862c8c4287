import type { PairingOptions } from '../../checkpoint/models.ts'
import { openCheckpoint } from '../../checkpoint/open.ts'
import type { Checkpoint } from '../../checkpoint/types.ts'
import type { EngineRequest } from '../../engine/open.ts'
import { badInput, ExitCode } from '../../errors.ts'
import { assertUnchanged } from '../../io/files.ts'
import { ratioOfNorms } from '../../linalg/matrix/norms.ts'
import type { NotLoaded } from '../../lora/found-by-loaders.ts'
import type { Adapter } from '../../lora/model.ts'
import { adapterOf } from '../../lora/read/adapter.ts'
import { type Comparison, compare, measureOther, measureWhole, outcomeOf } from '../../measure/compare.ts'
import { bytesOf, flopsOf, type Measured, type MeasureJob, measureMatrix } from '../../measure/measure.ts'
import type { NotCarried, VerifiedLayer, VerifiedTensor } from '../../measure/result.ts'
import { writeJson } from '../../report/json.ts'
import { type Watch, watchedJobs } from '../../report/watched-jobs.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { short } from '../../text/numbers.ts'
import { verifyDocument } from './document.ts'
import type { VerifyOptions } from './options.ts'
import type { VerifyResult } from './result.ts'
import { verifyTables } from './text.ts'

/** Measures an adapter as it lies on disk against base and tuned, and reports. Gives the exit code. */
export async function verify(
  options: VerifyOptions,
  request: EngineRequest,
  output: { json: boolean; quiet: boolean },
  terminal: Terminal,
): Promise<number> {
  const start = performance.now()
  const { stdin, env } = terminal
  const files = await openCheckpoint(options.adapter, { stdin, env })
  const adapter = await adapterOf(files, options.alpha === undefined ? {} : { alpha: options.alpha })
  if (adapter === undefined) {
    throw badInput(`${options.adapter}: is no adapter: none of its tensors is a LoRA factor`, {
      file: options.adapter,
    })
  }
  const base = await openCheckpoint(options.base, { stdin, env })
  const tuned = await openCheckpoint(options.tuned, { stdin, env })
  const measured = await terminal.interruptible((signal) =>
    measureAdapter(adapter, base, tuned, options, {
      request,
      memory: options.memory,
      quiet: output.quiet,
      terminal,
      signal,
    }),
  )
  for (const input of [files, base, tuned]) await assertUnchanged(input)
  const seconds = (performance.now() - start) / 1000
  const warnings = [
    ...new Set([...base.warnings, ...tuned.warnings, ...measured.warnings, ...worseThanNone(measured)]),
  ]
  const result = resultOf(options, { ...measured, warnings }, seconds)
  if (output.json) await writeJson(terminal, verifyDocument(result))
  else if (!output.quiet) await terminal.out(verifyTables(result, terminal))
  return result.holds ? ExitCode.ok : ExitCode.checkFailed
}

/** What an adapter reproduces, matrix by matrix. */
export interface AdapterMeasures {
  readonly layers: readonly VerifiedLayer[]
  readonly replaced: readonly VerifiedTensor[]
  readonly notCarried: readonly NotCarried[]
  readonly unchanged: readonly string[]
  readonly notLoaded: readonly NotLoaded[]
  readonly matched: number
  readonly unmatched: number
  readonly warnings: readonly string[]
}

type Carried = Pick<AdapterMeasures, 'layers' | 'replaced' | 'notCarried'>

/**
 * Measures every layer that an adapter has factors for, the tensors that it replaces, and what changed besides. What is
 * `known` of a matrix, by its name, isn't measured again.
 */
export async function measureAdapter(
  adapter: Adapter,
  base: Checkpoint,
  tuned: Checkpoint,
  pairing: PairingOptions,
  watch: Watch,
  known: ReadonlyMap<string, Measured> = new Map(),
): Promise<AdapterMeasures> {
  const comparison = await compare(adapter, base, tuned, pairing)
  const jobs = comparison.jobs.filter(({ pair }) => !known.has(pair.name))
  const results = watchedJobs(jobs, MEASURING, watch)
  const outcomes: (VerifiedLayer | NotCarried)[] = []
  for (const job of comparison.jobs) {
    const measured = known.get(job.pair.name) ?? (await results.next()).value
    outcomes.push(outcomeOf(job, measured as Measured))
  }
  const paths = { adapter: adapter.path, base: base.path, tuned: tuned.path }
  return withTheRest(comparison, outcomes, paths)
}

const MEASURING = {
  kind: 'measure',
  work: measureMatrix,
  flopsOf,
  bytesOf,
  nameOf: ({ pair }: MeasureJob) => pair.name,
  sizeOf: ({ pair }: MeasureJob) => pair.base.bytes + pair.tuned.bytes,
  task: { label: 'measuring', noun: 'matrices', unit: 'bytes' },
} as const

async function withTheRest(
  { replaced, others, unchanged, notLoaded, matched, unmatched, warnings }: Comparison,
  outcomes: readonly (VerifiedLayer | NotCarried)[],
  paths: MeasureJob['paths'],
): Promise<AdapterMeasures> {
  const isLayer = (outcome: VerifiedLayer | NotCarried): outcome is VerifiedLayer => 'rank' in outcome
  const wholes: VerifiedTensor[] = []
  for (const one of replaced) wholes.push(await measureWhole(one, paths))
  const notCarried = outcomes.filter((outcome): outcome is NotCarried => !isLayer(outcome))
  for (const one of others) notCarried.push(await measureOther(one, one.detail, paths))
  return {
    layers: outcomes.filter(isLayer),
    replaced: wholes,
    notCarried,
    unchanged,
    notLoaded,
    matched,
    unmatched,
    warnings,
  }
}

function resultOf(
  { adapter, base, tuned, maxError }: VerifyOptions,
  { matched, unmatched, ...measures }: AdapterMeasures,
  seconds: number,
): VerifyResult {
  const carried = [...measures.layers, ...measures.replaced]
  const worst = carried.reduce<VerifiedLayer | VerifiedTensor | undefined>(
    (most, one) => (most === undefined || one.relativeError > most.relativeError ? one : most),
    undefined,
  )
  return {
    adapter,
    base,
    tuned,
    ...measures,
    ...(worst !== undefined && { worst: { name: worst.name, relativeError: worst.relativeError } }),
    totals: { ...totalErrors(measures), matched, unmatched },
    ...(maxError !== undefined && { maxError }),
    // no promise is kept by an adapter that carries nothing, or that its own loader takes for nothing, nor by a part of the models
    holds:
      unmatched === 0 &&
      measures.notLoaded.length === 0 &&
      (maxError === undefined || (worst !== undefined && worst.relativeError <= maxError)),
    seconds,
  }
}

/** An adapter that brings the base no nearer to tuned: its scale, or what it is compared with, is wrong. */
function worseThanNone(measures: Carried): string[] {
  const { relativeError } = totalErrors(measures)
  if (!(relativeError > 1)) return []
  return [
    `with the adapter the base is farther from the fine-tune than without (error ${short(relativeError, 3)}): are <base> and <tuned> swapped, or is it another's adapter?`,
  ]
}

/** √(Σ squared residuals / Σ ‖Δ‖_F²) over what is carried, and over all that changed. */
export function totalErrors({
  layers,
  replaced,
  notCarried,
}: Carried): Pick<VerifyResult['totals'], 'relativeError' | 'wholeRelativeError'> {
  const carried = [...layers, ...replaced]
  const residuals = carried.map(({ residualFrobenius }) => residualFrobenius)
  const deltas = carried.map(({ deltaFrobenius }) => deltaFrobenius)
  const left = notCarried.map(({ deltaFrobenius = 0 }) => deltaFrobenius)
  return {
    relativeError: ratioOfNorms(residuals, deltas),
    wholeRelativeError: ratioOfNorms([...residuals, ...left], [...deltas, ...left]),
  }
}
