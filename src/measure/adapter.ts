import type { PairingOptions } from '../checkpoint/models.ts'
import { rangesOf } from '../checkpoint/near.ts'
import type { Checkpoint } from '../checkpoint/types.ts'
import { doJobs, type RunContext } from '../jobs/context.ts'
import { ratioOfNorms } from '../linalg/matrix/norms.ts'
import type { NotLoaded } from '../lora/found-by-loaders.ts'
import type { Adapter } from '../lora/model.ts'
import { matchMoments } from '../moments/match.ts'
import type { MomentFile } from '../moments/types.ts'
import { merged, type Placed } from '../shards/merge.ts'
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

/** The same of some of the tensors, each with its place among all. */
export interface PlacedMeasures
  extends Pick<AdapterMeasures, 'notLoaded' | 'matched' | 'unmatched' | 'warnings'> {
  /** How many tensors are compared in all. */
  readonly tensors: number
  readonly layers: readonly Placed<VerifiedLayer>[]
  readonly replaced: readonly Placed<VerifiedTensor>[]
  readonly notCarried: readonly Placed<NotCarried>[]
  readonly unchanged: readonly Placed<{ readonly name: string }>[]
}

/** What parts that hold all tensors between them come to. */
export function allMeasures(parts: readonly PlacedMeasures[]): AdapterMeasures {
  const [{ notLoaded, matched, unmatched, warnings }] = parts
  return {
    layers: merged(parts.map((part) => part.layers)),
    replaced: merged(parts.map((part) => part.replaced)),
    notCarried: merged(parts.map((part) => part.notCarried)),
    unchanged: merged(parts.map((part) => part.unchanged)).map(({ name }) => name),
    notLoaded,
    matched,
    unmatched,
    warnings,
  }
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
  { measured: known, unchanged }: Known = NOTHING_KNOWN,
  moments?: MomentFile,
): Promise<AdapterMeasures> {
  const compared = await compare(adapter, base, tuned, pairing, new Set(unchanged))
  const comparison = withMoments(compared, moments, base, tuned)
  return allMeasures([await measured(comparison, { adapter, base, tuned }, context, known)])
}

const NOTHING_KNOWN: Known = { measured: new Map(), unchanged: [] }

/** Measures the tensors that `isOwnOf` chooses, by the bytes that each takes to read. */
export async function measurePart(
  adapter: Adapter,
  base: Checkpoint,
  tuned: Checkpoint,
  pairing: PairingOptions,
  context: RunContext,
  isOwnOf: (bytes: readonly number[]) => readonly boolean[],
  moments?: MomentFile,
): Promise<PlacedMeasures> {
  const compared = await compare(adapter, base, tuned, pairing, new Set(), isOwnOf)
  const comparison = withMoments(compared, moments, base, tuned)
  return measured(comparison, { adapter, base, tuned }, context, NOTHING_KNOWN.measured)
}

async function measured(
  comparison: Comparison,
  {
    adapter,
    base,
    tuned,
  }: { readonly adapter: Adapter; readonly base: Checkpoint; readonly tuned: Checkpoint },
  context: RunContext,
  known: Known['measured'],
): Promise<PlacedMeasures> {
  const jobs = comparison.jobs.filter(({ pair }) => !known.has(pair.name))
  const found = new Map(known)
  let next = 0
  for await (const one of doJobs(jobs, MEASURING, context)) found.set(jobs[next++].pair.name, one)
  const outcomes = comparison.jobs.map((job) => ({
    at: job.at,
    ...outcomeOf(job, found.get(job.pair.name)!),
  }))
  const paths = { adapter: adapter.path, base: base.path, tuned: tuned.path }
  return withTheRest(comparison, outcomes, paths)
}

/** The moments of the layers that the adapter has factors for. */
function withMoments(
  comparison: Comparison,
  file: MomentFile | undefined,
  base: Checkpoint,
  tuned: Checkpoint,
): Comparison {
  if (file === undefined) return comparison
  const carried = comparison.jobs.filter(({ modules }) => modules.length > 0)
  const layers = carried.map(({ pair, modules: [{ isTransposed, experts }], expert }) => ({
    tensors: [pair.base.tensor, pair.tuned.tensor],
    ...{ rows: pair.tuned.rows, columns: pair.tuned.columns, isTransposed },
    ...(expert !== undefined && { expert, experts }),
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
  readsOf: ({ pair }: MeasureJob) => rangesOf([pair.base, pair.tuned]),
  sizeOf: ({ pair }: MeasureJob) => pair.base.bytes + pair.tuned.bytes,
  task: { phase: 'measuring', noun: 'matrices', unit: 'bytes' },
} as const

async function withTheRest(
  { tensors, replaced, others, unchanged, notLoaded, matched, unmatched, warnings }: Comparison,
  outcomes: readonly Placed<VerifiedLayer | NotCarried>[],
  paths: MeasureJob['paths'],
): Promise<PlacedMeasures> {
  const isLayer = (outcome: Placed<VerifiedLayer | NotCarried>): outcome is Placed<VerifiedLayer> =>
    'rank' in outcome
  const wholes: Placed<VerifiedTensor>[] = []
  for (const one of replaced) wholes.push({ at: one.at, ...(await measureWhole(one, paths)) })
  const notCarried = outcomes.filter((outcome): outcome is Placed<NotCarried> => !isLayer(outcome))
  for (const one of others) notCarried.push({ at: one.at, ...(await measureOther(one, paths)) })
  return {
    tensors,
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
