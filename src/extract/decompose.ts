import { type Watch, watchedJobsAsDone } from '../report/watched-jobs.ts'
import { bytesOf, extractLayer, flopsOf, type LayerJob } from './layer.ts'
import { type LayerAsk, type LayerResult, withoutVectors } from './layer-result.ts'
import type { ExtractOptions } from './options.ts'
import type { ExtractionPlan } from './plan.ts'
import type { RunFolder } from './run-folder.ts'

/** Vectors of all layers that are kept rather than read again: little beside the matrices in work. */
const KEPT_BYTES = 128 * 2 ** 20

/**
 * Computes what a round asks of each layer (null: nothing) and isn't in the run folder yet, and puts it there. Gives the results
 * of all that the round asked, by their index; with their vectors as far as `KEPT_BYTES` goes.
 */
export async function decompose(
  { layers, base, tuned, dtype }: ExtractionPlan,
  options: ExtractOptions,
  folder: RunFolder,
  round: number,
  asks: readonly (LayerAsk | null)[],
  watch: Watch,
): Promise<Map<number, LayerResult>> {
  const jobOf = (index: number, ask: LayerAsk): LayerJob => ({
    pair: layers[index].pair,
    ask,
    certify: options.certify,
    seed: options.seed,
    form: { distributeScale: options.distributeScale, dtype },
    isSettled: options.rule.kind !== 'budget' && !options.uniform,
    basePath: base.path,
    tunedPath: tuned.path,
  })
  const all = asks.flatMap((ask, index) => (ask === null ? [] : [{ index, job: jobOf(index, ask) }]))
  const done = new Map<number, LayerResult>()
  for (const { index, job } of all) {
    const found = folder.find(round, index, job.ask)
    if (found !== undefined) done.set(index, found)
  }
  const missing = all.filter(({ index }) => !done.has(index))
  const results = watchedJobsAsDone(
    missing.map(({ job }) => job),
    {
      kind: 'extract',
      work: extractLayer,
      flopsOf,
      bytesOf,
      nameOf: ({ pair }) => pair.name,
      task: { label: round === 1 ? 'extracting' : 'extending', noun: 'layers', unit: 'flops' },
      planFor: all.map(({ job }) => job),
    },
    watch,
  )
  let kept = 0
  // written as they come, so that a kill loses only what is in work
  for await (const { index: at, result } of results) {
    const { index } = missing[at]
    await folder.write(round, index, result)
    kept += result.U.data.byteLength + result.V.data.byteLength
    done.set(index, kept <= KEPT_BYTES ? result : withoutVectors(result))
  }
  return done
}
