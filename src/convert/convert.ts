import { openCheckpoint } from '../checkpoint/open.ts'
import type { Checkpoint } from '../checkpoint/types.ts'
import { layersOf, onWeights } from '../combine/modules.ts'
import type { Combined } from '../combine/result.ts'
import { LoraSvdError } from '../errors.ts'
import { bytesPerElement, type FloatDtype } from '../formats/dtype.ts'
import { doJobs, type RunContext } from '../jobs/context.ts'
import { epsilonOf } from '../linalg/matrix/matrix.ts'
import { ratioOfNorms } from '../linalg/matrix/norms.ts'
import { placedRows } from '../lora/fit.ts'
import { matchToBase } from '../lora/match.ts'
import type { Adapter, AdapterFormat } from '../lora/model.ts'
import { adapterOf } from '../lora/read/adapter.ts'
import { compareNatural } from '../text/compare.ts'
import { bytesOf, compareProducts, type Distance, flopsOf, type ProductsJob } from './compare-products.ts'
import { CHECKING } from './difference-jobs.ts'
import type { ConversionPlan } from './plan.ts'
import type { Dropped } from './target.ts'
import { type WriteRequest, type WrittenFile, writeConverted } from './write.ts'

/** A weight whose change was converted, as it lies on disk. */
export interface ConvertedLayer {
  readonly name: string
  readonly shape: readonly [rows: number, columns: number]
  /** Columns of the factors in the source. */
  readonly rankBefore: number
  /** How it lies in the result: as factors, or, of DoRA, whole. */
  readonly form: 'factors' | 'difference'
  /** Columns of the factors that the reader finds in the result, zeros with them; 0 where there are none. */
  readonly rank: number
  /** Both products are the same number for number. */
  readonly isExact: boolean
  /** ‖stored − meant‖_F / ‖meant‖_F, 0 where it is exact. */
  readonly relativeError: number
}

export interface DifferenceTotals {
  readonly modules: number
  readonly bytes: number
}

/** What loaders don't do right with modules of the result. */
export interface LoaderGap {
  readonly loader: string
  readonly effect: 'dropped' | 'refused' | 'wrong'
  readonly reason: string
  readonly source: string
  readonly modules: readonly string[]
}

/** An adapter in another format, as it lies on disk. */
export interface Conversion {
  readonly from: AdapterFormat
  readonly format: AdapterFormat
  readonly dtype: string
  readonly layers: readonly ConvertedLayer[]
  /** What is stored whole because it is DoRA: modules of the result, and the bytes of their tensors. */
  readonly differences: DifferenceTotals
  /** Tensors of the result that are neither factors nor differences of DoRA. */
  readonly kept: readonly string[]
  readonly dropped: readonly Dropped[]
  readonly gaps: readonly LoaderGap[]
  /** All products are the same number for number. */
  readonly isExact: boolean
  /** The largest of the layers. */
  readonly largestError: number
  readonly totals: {
    readonly layers: number
    /** Modules of the result: pairs of factors. */
    readonly modules: number
    readonly rank: number
    readonly relativeError: number
    readonly bytesBefore: number
    readonly bytes: number
  }
  /** Nothing was left out, and what differs is rounding of the dtype alone. */
  readonly holds: boolean
  readonly output: Combined['output']
  readonly warnings: readonly string[]
}

/** ε of each dtype, which rounding to it is half of. */
const EPSILON: Readonly<Record<FloatDtype, number>> = { ...epsilonOf, f16: 2 ** -10, bf16: 2 ** -7 }

/** A factor's rounding, and the other's: more than both is no rounding. */
const ROUNDINGS = 2

/**
 * Writes an adapter in another format, reads it back with the reader that reads any, and compares each weight's change with that of the
 * source, in float64. Throws LoraSvdError: `output-exists`, `bad-input` for what can't be written, `not-finite`, and `system` where
 * something else lies on disk than was written.
 */
export async function convertAdapter(
  plan: ConversionPlan,
  inputs: readonly Checkpoint[],
  request: WriteRequest,
  context: RunContext,
): Promise<Conversion> {
  const { files, checked } = await writeConverted(
    plan,
    inputs,
    request,
    (path) => comparedWith(plan, path, request.output, context),
    context,
  )
  return conversionOf(plan, checked, files, request.output)
}

/** A layer, and the norms that its error is of. */
interface CheckedLayer {
  readonly layer: ConvertedLayer
  readonly distance: number
  readonly norm: number
}
type Checked = readonly CheckedLayer[]

/** Reads the result as anyone would, and compares what it does to each weight. */
async function comparedWith(
  plan: ConversionPlan,
  path: string,
  output: string,
  context: RunContext,
): Promise<Checked> {
  const checkpoint = await openCheckpoint(path)
  const adapter = await adapterOf(checkpoint)
  const wrong = (what: string) =>
    new LoraSvdError('system', `${output}: ${what} is not what was written; run the same command again`, {
      file: output,
    })
  if (adapter === undefined) throw wrong('the adapter')
  const { source, base } = plan
  // without a base both have the names that the model has for its modules
  const written = base === undefined ? { ...adapter, format: source.adapter.format } : adapter
  const { modules } = onWeights([source, { adapter: written, checkpoint, weight: 1 }], base)
  const whole = new Set(plan.differences.map(({ change }) => change.name))
  const dropped = new Set(plan.dropped.map(({ name }) => name))
  const jobs = modules.flatMap(layersOf).flatMap(({ name, module, terms, expert }): ProductsJob[] => {
    const meant = terms.filter((term) => term.adapter === 0)
    const stored = terms.filter((term) => term.adapter === 1)
    if (stored.length === 0 && (dropped.has(module.label) || whole.has(module.tensor))) return []
    if (whole.has(module.tensor)) throw wrong(name)
    const { rows, columns } = module
    return [{ name, meant, stored, rows, columns, ...(expert !== undefined && { expert }) }]
  })
  const distances: Distance[] = []
  const kind = {
    kind: 'convert',
    work: compareProducts,
    flopsOf,
    bytesOf,
    nameOf: ({ name }: ProductsJob) => name,
    task: { phase: 'checking', noun: 'layers', unit: 'flops' },
  } as const
  for await (const distance of doJobs(jobs, kind, context)) {
    const job = jobs[distances.length]
    const limit = ROUNDINGS * EPSILON[plan.dtype] * distance.size
    if (!(distance.distance <= limit)) throw wrong(job.name)
    distances.push(distance)
  }
  const products = jobs.map((job, i): CheckedLayer => {
    const { isExact, distance, norm } = distances[i]
    const { name, rows, columns, meant, stored } = job
    const ranks = { rankBefore: rankOf(meant), rank: rankOf(stored) }
    return checkedLayer({ name, shape: [rows, columns], form: 'factors', ...ranks, isExact }, distance, norm)
  })
  if (plan.differences.length === 0) return products
  const differences = await comparedDifferences(plan, adapter, wrong, context)
  return [...products, ...differences].sort((a, b) => compareNatural(a.layer.name, b.layer.name))
}

const checkedLayer = (
  layer: Omit<ConvertedLayer, 'relativeError'>,
  distance: number,
  norm: number,
): CheckedLayer => ({
  layer: { ...layer, relativeError: distance === 0 ? 0 : distance / norm },
  ...{ distance, norm },
})

/** The weights that are stored whole: all that the reader adds to each, beside the change that is meant. */
async function comparedDifferences(
  { differences, dtype, base }: ConversionPlan,
  adapter: Adapter,
  wrong: (what: string) => LoraSvdError,
  context: RunContext,
): Promise<CheckedLayer[]> {
  const { path } = base!
  const added = matchToBase(adapter, base!).replaced.filter(({ replaced }) => replaced.how === 'add')
  const byWeight = new Map(differences.map((one) => [one.change.name, one]))
  const jobs = [...byWeight.values()].map(({ change, rank, label }) => {
    const { name, rows, columns } = change
    const own = added.filter(({ base }) => base?.name === name)
    if (own.length !== differences.filter((one) => one.change.name === name).length) throw wrong(name)
    const stored = own.flatMap(({ replaced: { tensor, fit } }) =>
      placedRows(tensor, fit).map(({ tensor, row }) => ({ tensor, first: row * columns, factor: 1, path })),
    )
    const range = { matrix: 0, first: 0, count: rows }
    return { job: { name, change, range, dtype, base: path, stored }, label, rank }
  })
  const checked: CheckedLayer[] = []
  const results = doJobs(
    jobs.map(({ job }) => job),
    CHECKING,
    context,
  )
  for await (const { isAsWritten, isExact, distance, norm } of results) {
    const { job, label, rank } = jobs[checked.length]
    if (!isAsWritten) throw wrong(job.name)
    const { rows, columns } = job.change
    const ranks = { rankBefore: rank, rank: 0 }
    checked.push(
      checkedLayer(
        { name: label, shape: [rows, columns], form: 'difference', ...ranks, isExact },
        distance,
        norm,
      ),
    )
  }
  return checked
}

function conversionOf(
  plan: ConversionPlan,
  checked: Checked,
  files: readonly WrittenFile[],
  output: string,
): Conversion {
  const layers = checked.map(({ layer }) => layer)
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  const { source, format, dropped } = plan
  return {
    from: source.adapter.format,
    format,
    dtype: plan.dtype,
    layers,
    differences: differenceTotals(plan),
    kept: plan.wholes.map(({ name }) => name),
    dropped,
    gaps: gapsOf(plan),
    isExact: layers.every((layer) => layer.isExact),
    largestError: layers.reduce((most, layer) => Math.max(most, layer.relativeError), 0),
    totals: {
      layers: layers.length,
      modules: plan.gguf === undefined ? plan.pairs.length : plan.gguf.tensors.length / 2,
      rank: plan.r,
      relativeError: ratioOfNorms(
        checked.map(({ distance }) => distance),
        checked.map(({ norm }) => norm),
      ),
      bytesBefore: source.checkpoint.files.reduce((sum, file) => sum + file.bytes, 0),
      bytes,
    },
    holds: dropped.length === 0,
    output: { path: output, format, bytes, files: files.map(({ name }) => name) },
    warnings: plan.warnings,
  }
}

export const differenceTotals = ({
  differences,
  dtype,
}: Pick<ConversionPlan, 'differences' | 'dtype'>): DifferenceTotals => ({
  modules: differences.length,
  bytes:
    differences.reduce((sum, { range, change }) => sum + range.count * change.columns, 0) *
    bytesPerElement(dtype),
})

const rankOf = (terms: ProductsJob['meant']) => terms.reduce((sum, { module }) => sum + module.rank, 0)

/** What loaders don't do right, each once, with the modules that it is of. */
export function gapsOf({ pairs, differences }: Pick<ConversionPlan, 'pairs' | 'differences'>): LoaderGap[] {
  const found = new Map<string, LoaderGap & { readonly modules: string[] }>()
  for (const { module, gaps } of [...pairs, ...differences]) {
    for (const { loader, effect, reason, source } of gaps) {
      const key = JSON.stringify([loader, effect, reason])
      const known = found.get(key) ?? { loader, effect, reason, source, modules: [] }
      known.modules.push(module)
      found.set(key, known)
    }
  }
  return [...found.values()]
}
