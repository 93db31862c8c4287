import type { PairingOptions } from '../checkpoint/models.ts'
import type { Checkpoint } from '../checkpoint/types.ts'
import { doJobs, type RunContext } from '../jobs/context.ts'
import { ratioOfNorms } from '../linalg/matrix/norms.ts'
import type { NotLoaded } from '../lora/found-by-loaders.ts'
import type { Adapter } from '../lora/model.ts'
import { matchMoments } from '../moments/match.ts'
import type { MomentFile } from '../moments/types.ts'
import { type Comparison, compare, measureOther, measureWhole, outcomeOf } from './compare.ts'
import {
  bytesOf,
  flopsOf,
  type Measured,
  type MeasureJob,
  measureMatrix,
  type NotCarried,
  type VerifiedLayer,
  type VerifiedTensor,
} from './measure.ts'

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

/** What `totalErrors` is about. */
export type Carried = Pick<AdapterMeasures, 'layers' | 'replaced' | 'notCarried'>

/** What was found of base and tuned before. */
export interface Known {
  /** What was measured of a matrix, by its name. */
  readonly measured: ReadonlyMap<string, Measured>
  /** The tuned model's tensors that hold the same numbers as the base's. */
  readonly unchanged: Iterable<string>
}

/**
 * Measures every layer that an adapter has factors for, the tensors that it replaces, and what changed besides. What is known
 * already is neither measured nor compared again.
 */
export async function measureAdapter(
  adapter: Adapter,
  base: Checkpoint,
  tuned: Checkpoint,
  pairing: PairingOptions,
  context: RunContext,
  { measured: known, unchanged }: Known = { measured: new Map(), unchanged: [] },
  moments?: MomentFile,
): Promise<AdapterMeasures> {
  const compared = await compare(adapter, base, tuned, pairing, new Set(unchanged))
  const comparison = moments === undefined ? compared : withMoments(compared, moments, base, tuned)
  const jobs = comparison.jobs.filter(({ pair }) => !known.has(pair.name))
  const measured = new Map(known)
  let at = 0
  for await (const one of doJobs(jobs, MEASURING, context)) measured.set(jobs[at++].pair.name, one)
  const outcomes = comparison.jobs.map((job) => outcomeOf(job, measured.get(job.pair.name)!))
  const paths = { adapter: adapter.path, base: base.path, tuned: tuned.path }
  return withTheRest(comparison, outcomes, paths)
}

/** The moments of the layers that the adapter has factors for. */
function withMoments(
  comparison: Comparison,
  file: MomentFile,
  base: Checkpoint,
  tuned: Checkpoint,
): Comparison {
  const carried = comparison.jobs.filter(({ modules }) => modules.length > 0)
  const layers = carried.map(({ pair, modules: [{ isTransposed }], expert }) => ({
    tensors: [pair.base.tensor, pair.tuned.tensor],
    ...{ rows: pair.tuned.rows, columns: pair.tuned.columns, isTransposed },
    ...(expert !== undefined && { expert }),
  }))
  const model = { path: base.path, config: base.config ?? tuned.config }
  const found = new Map(matchMoments(file, layers, model).map((one, i) => [carried[i], one]))
  return {
    ...comparison,
    jobs: comparison.jobs.map((job) => {
      const moments = found.get(job)
      return moments === undefined ? job : { ...job, moments }
    }),
  }
}

const MEASURING = {
  kind: 'measure',
  work: measureMatrix,
  flopsOf,
  bytesOf,
  nameOf: ({ pair }: MeasureJob) => pair.name,
  sizeOf: ({ pair }: MeasureJob) => pair.base.bytes + pair.tuned.bytes,
  task: { phase: 'measuring', noun: 'matrices', unit: 'bytes' },
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
  for (const one of others) notCarried.push(await measureOther(one, paths))
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

export interface TotalErrors {
  /** Over what the adapter carries. */
  readonly relativeError: number
  /** Over all that changed; what one of the two lacks counts as zero. */
  readonly wholeRelativeError: number
}

/** √(Σ squared residuals / Σ ‖Δ‖_F²) over what is carried, and over all that changed. */
export function totalErrors({ layers, replaced, notCarried }: Carried): TotalErrors {
  const carried = [...layers, ...replaced]
  const residuals = carried.map(({ residualFrobenius }) => residualFrobenius)
  const deltas = carried.map(({ deltaFrobenius }) => deltaFrobenius)
  const left = notCarried.map(({ deltaFrobenius = 0 }) => deltaFrobenius)
  return {
    relativeError: ratioOfNorms(residuals, deltas),
    wholeRelativeError: ratioOfNorms([...residuals, ...left], [...deltas, ...left]),
  }
}
