import { bringTogether, layersOf } from '../../combine/modules.ts'
import { openSummands } from '../../combine/open.ts'
import { assertUnchanged } from '../../io/files.ts'
import { doJobs, inContext, type RunContext } from '../../jobs/context.ts'
import { ofExpert } from '../../lora/model.ts'
import { bytesOf, type CompareJob, compareLayer, flopsOf } from './compare-layer.ts'
import { type CompareOptions, type CompareSettings, compareSettings } from './options.ts'
import type { CompareResult } from './result.ts'
import { resultOf } from './summary.ts'
import type { ShapedOverlap } from './totals.ts'

/**
 * How far adapters overlap, layer by layer and over all: cosines of their changes, the principal angles between their column and row
 * spaces, and how much of each lies in the spaces of the other; from the factors, without any matrix of a weight's size. Throws
 * LoraSvdError: `bad-usage` and `bad-input` for what can't be compared, `not-finite` on NaN and infinity, `system` where the machine
 * fails, `interrupted`.
 */
export async function compare(options: CompareOptions): Promise<CompareResult> {
  const settings = compareSettings(options)
  return inContext({ ...options, memory: settings.memory }, (context) => compared(settings, context))
}

async function compared(settings: CompareSettings, context: RunContext): Promise<CompareResult> {
  const start = performance.now()
  const requests = settings.adapters.map((path) => ({ path, weight: 1 }))
  const { summands, base, inputs } = await openSummands(requests, settings, context)
  const { settled, modules } = bringTogether(summands, base)
  const jobs = modules.flatMap(layersOf).map(
    ({ name, terms, module: { rows, columns }, expert }): CompareJob => ({
      ...{
        name,
        terms: terms.map((term) => ({ ...term, module: ofExpert(term.module, expert) })),
        rows,
        columns,
        withAngles: summands.length === 2,
      },
      ...(expert !== undefined && { expert }),
    }),
  )
  const overlaps: ShapedOverlap[] = []
  for await (const overlap of comparedLayers(jobs, context)) {
    const { rows, columns } = jobs[overlaps.length]
    overlaps.push({ ...overlap, shape: [rows, columns] })
  }
  for (const input of inputs) await assertUnchanged(input)
  const seconds = (performance.now() - start) / 1000
  return resultOf(settled, overlaps, settings, seconds)
}

const comparedLayers = (jobs: readonly CompareJob[], context: RunContext) =>
  doJobs(
    jobs,
    {
      kind: 'compare',
      work: compareLayer,
      flopsOf,
      bytesOf,
      nameOf: ({ name }) => name,
      task: { phase: 'comparing', noun: 'layers', unit: 'flops' },
    },
    context,
  )
