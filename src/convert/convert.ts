import { openCheckpoint } from '../checkpoint/open.ts'
import type { Checkpoint } from '../checkpoint/types.ts'
import { layersOf, onWeights } from '../combine/modules.ts'
import { LoraSvdError } from '../errors.ts'
import type { FloatDtype } from '../formats/dtype.ts'
import { doJobs, type RunContext } from '../jobs/context.ts'
import { ratioOfNorms } from '../linalg/matrix/norms.ts'
import type { AdapterFormat } from '../lora/model.ts'
import { adapterOf } from '../lora/read/adapter.ts'
import { bytesOf, compareProducts, type Distance, flopsOf, type ProductsJob } from './compare-products.ts'
import type { ConversionPlan } from './plan.ts'
import type { Dropped } from './target.ts'
import { type WriteRequest, type WrittenFile, writeConverted } from './write.ts'

/** A weight whose change was converted, as it lies on disk. */
export interface ConvertedLayer {
  readonly name: string
  readonly shape: readonly [rows: number, columns: number]
  /** Columns of the factors in the source. */
  readonly rankBefore: number
  /** Columns of the factors that the reader finds in the result, zeros with them. */
  readonly rank: number
  /** Both products are the same number for number. */
  readonly isExact: boolean
  /** ‖stored − meant‖_F / ‖meant‖_F, 0 where it is exact. */
  readonly relativeError: number
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
  /** Tensors of the result that are no factors. */
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
  readonly output: {
    readonly path: string
    readonly format: AdapterFormat
    readonly bytes: number
    readonly files: readonly string[]
  }
  readonly warnings: readonly string[]
}

/** ε of each dtype, which rounding to it is half of. */
const EPSILON: Readonly<Record<FloatDtype, number>> = {
  f64: 2 ** -52,
  f32: 2 ** -23,
  f16: 2 ** -10,
  bf16: 2 ** -7,
}

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
  const { files, checked } = await writeConverted(plan, inputs, request, (path) =>
    comparedWith(plan, path, request.output, context),
  )
  return conversionOf(plan, checked, files, request.output)
}

type Checked = readonly { readonly job: ProductsJob; readonly distance: Distance }[]

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
  const dropped = new Set(plan.dropped.map(({ name }) => name))
  const jobs = modules.flatMap(layersOf).flatMap(({ name, module, terms, expert }): ProductsJob[] => {
    const meant = terms.filter((term) => term.adapter === 0)
    const stored = terms.filter((term) => term.adapter === 1)
    if (stored.length === 0 && dropped.has(module.label)) return []
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
  return jobs.map((job, i) => ({ job, distance: distances[i] }))
}

function conversionOf(
  plan: ConversionPlan,
  checked: Checked,
  files: readonly WrittenFile[],
  output: string,
): Conversion {
  const layers = checked.map(
    ({ job, distance: { isExact, distance, norm } }): ConvertedLayer => ({
      name: job.name,
      shape: [job.rows, job.columns],
      rankBefore: rankOf(job.meant),
      rank: rankOf(job.stored),
      isExact,
      relativeError: distance === 0 ? 0 : distance / norm,
    }),
  )
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  const { source, format, dropped } = plan
  return {
    from: source.adapter.format,
    format,
    dtype: plan.dtype,
    layers,
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
        checked.map(({ distance }) => distance.distance),
        checked.map(({ distance }) => distance.norm),
      ),
      bytesBefore: source.checkpoint.files.reduce((sum, file) => sum + file.bytes, 0),
      bytes,
    },
    holds: dropped.length === 0,
    output: { path: output, format, bytes, files: files.map(({ name }) => name) },
    warnings: plan.warnings,
  }
}

const rankOf = (terms: ProductsJob['meant']) => terms.reduce((sum, { module }) => sum + module.rank, 0)

/** What loaders don't do right, each once, with the modules that it is of. */
export function gapsOf({ pairs }: Pick<ConversionPlan, 'pairs'>): LoaderGap[] {
  const found = new Map<string, LoaderGap & { readonly modules: string[] }>()
  for (const { module, gaps } of pairs) {
    for (const { loader, effect, reason, source } of gaps) {
      const key = JSON.stringify([loader, effect, reason])
      const known = found.get(key) ?? { loader, effect, reason, source, modules: [] }
      known.modules.push(module)
      found.set(key, known)
    }
  }
  return [...found.values()]
}
