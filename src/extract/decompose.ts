import { availableParallelism } from 'node:os'
import type { EngineRequest } from '../engine/policy.ts'
import { defaultMemory } from '../jobs/memory.ts'
import { runJobs } from '../jobs/run-jobs.ts'
import { noticesTo } from '../report/notice.ts'
import { progressOn } from '../report/progress.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { bytesOf, extractLayer, flopsOf, type LayerJob } from './layer.ts'
import type { LayerAsk } from './layer-result.ts'
import type { ExtractOptions } from './options.ts'
import type { ExtractionPlan } from './plan.ts'
import type { RunFolder } from './run-folder.ts'

/** What a run goes on with, besides its plan. */
export interface Surroundings {
  readonly request: EngineRequest
  readonly quiet: boolean
  readonly terminal: Terminal
  readonly signal: AbortSignal
}

/** Computes what a round asks of each layer (null: nothing) and isn't in the run folder yet, and puts it there. */
export async function decompose(
  { layers, base, tuned, dtype }: ExtractionPlan,
  options: ExtractOptions,
  folder: RunFolder,
  round: number,
  asks: readonly (LayerAsk | null)[],
  { request, quiet, terminal, signal }: Surroundings,
): Promise<void> {
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
  const missing = all.filter(({ index }) => !folder.has(round, index))
  if (missing.length === 0) return
  const jobs = missing.map(({ job }) => job)
  const progress = progressOn(terminal, quiet)
  progress.start({
    label: round === 1 ? 'extracting' : 'extending',
    items: jobs.length,
    noun: 'layers',
    total: jobs.reduce((sum, job) => sum + flopsOf(job), 0),
    unit: 'flops',
  })
  try {
    const { engine, threads = availableParallelism() } = request
    const results = runJobs(jobs, {
      kind: 'extract',
      work: extractLayer,
      threads,
      engine,
      flopsOf,
      bytesOf,
      memory: options.memory ?? defaultMemory(),
      notice: noticesTo(terminal, quiet),
      onStart: (index) => progress.begin(jobs[index].pair.name),
      onDone: (index) => progress.step(flopsOf(jobs[index])),
      planFor: all.map(({ job }) => job),
      signal,
    })
    let at = 0
    for await (const result of results) await folder.write(round, missing[at++].index, result)
  } finally {
    progress.end()
  }
}
