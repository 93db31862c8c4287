import { assertNotRead, nameOfStandardInput } from '../../io/files.ts'
import { assertWritable, writeTextAtomic } from '../../io/write-atomic.ts'
import { inContext, type RunContext } from '../../jobs/context.ts'
import type { Shard } from '../../shards/shard.ts'
import type { Inspection } from './inspection.ts'
import { factsAbout, lookAt, type Watcher } from './look.ts'
import { assertChange, nextRun } from './next/run.ts'
import {
  assertSortable,
  type InspectJoinOptions,
  type InspectOptions,
  type InspectSettings,
  inspectJoinSettings,
  inspectSettings,
  type ReportView,
} from './options.ts'
import { plottedMatrix } from './plot.ts'
import type { InspectResult } from './result.ts'
import { type InspectShard, inspectShard, joinedInspection } from './shard.ts'
import { openSubjects } from './subject.ts'
import { inspectResult, type WholeResult } from './summary.ts'

/**
 * Tells how low the rank of each matrix is: of a checkpoint, of what a fine-tune changed (`base`), or of an adapter. Writes the files
 * that are asked for, each whole or not at all. With `shard` it looks at a part of the matrices and reports nothing of the whole; with `join`
 * it makes the report of what all shards have found. Throws LoraSvdError: `bad-usage` and `bad-input` for what can't be done,
 * `output-exists`, `system` where the machine fails, `interrupted`.
 */
export function inspect(options: InspectOptions & { readonly shard: Shard }): Promise<InspectShard>
export function inspect(
  options: (InspectOptions & { readonly shard?: undefined }) | InspectJoinOptions,
): Promise<InspectResult>
export function inspect(options: InspectOptions | InspectJoinOptions): Promise<InspectResult | InspectShard>
export async function inspect(
  options: InspectOptions | InspectJoinOptions,
): Promise<InspectResult | InspectShard> {
  if (isJoin(options)) {
    const settings = inspectJoinSettings(options)
    return inContext(options, () => joined(settings.parts, settings))
  }
  const settings = inspectSettings(options)
  return inContext<InspectResult | InspectShard>({ ...options, memory: settings.memory }, (context) =>
    settings.shard === undefined
      ? inspected(settings, context)
      : inspectShard(settings, settings.shard, context),
  )
}

const isJoin = (options: InspectOptions | InspectJoinOptions): options is InspectJoinOptions =>
  typeof options === 'object' && options !== null && 'join' in options && options.join !== undefined

/** The inspection that `settings` name. */
export async function inspected(
  settings: InspectSettings,
  context: RunContext,
  watcher?: Watcher,
): Promise<InspectResult> {
  const start = performance.now()
  const { path, base } = settings
  await assertAllWritable(settings)
  const opened = await openSubjects(settings, context.opening)
  const facts = factsAbout(opened, settings)
  watcher?.opened(opened)
  const named = nameOfStandardInput([path, base])
  const plotted = assertReportable(settings, facts, path)
  await assertOutputsNotRead(settings, [...opened.inputs.flatMap(({ files }) => files), ...named])
  const { findings, nonFinite } = await lookAt(settings, opened, context, (index, finding) =>
    watcher?.found(index, finding, opened),
  )
  const seconds = (performance.now() - start) / 1000
  const inspection = { ...facts, findings, nonFinite: nonFinite.flatMap((one) => one ?? []), seconds }
  return reported(settings, inspection, plotted)
}

/** The report of all parts of a job. */
async function joined(paths: readonly string[], view: ReportView): Promise<InspectResult> {
  await assertAllWritable(view)
  const { inspection, files } = await joinedInspection(paths)
  assertSortable(view.sort, inspection.source.base)
  const plotted = assertReportable(view, inspection, inspection.source.path)
  await assertOutputsNotRead(view, files)
  return reported(view, inspection, plotted)
}

async function assertAllWritable(view: ReportView): Promise<void> {
  for (const output of Object.values(view.outputs)) await assertWritable(output, view)
}

/** Throws `bad-usage` where what was asked of the report can't be. Gives the name of the matrix that is plotted. */
function assertReportable(
  { next, plot }: ReportView,
  { modules, facts }: Pick<Inspection, 'modules' | 'facts'>,
  path: string,
): string | undefined {
  if (next !== undefined) assertChange(modules)
  return plot === undefined ? undefined : plottedMatrix(plot, facts, path)
}

async function assertOutputsNotRead(
  { outputs }: ReportView,
  files: readonly { readonly path: string }[],
): Promise<void> {
  const flags = Object.fromEntries(Object.entries(outputs).map(([kind, output]) => [`--${kind}`, output]))
  await assertNotRead(flags, files)
}

/** Writes the files that were asked for, and gives the report. */
async function reported(
  view: ReportView,
  inspection: Inspection,
  plotted: string | undefined,
): Promise<InspectResult> {
  const result = inspectResult(view, inspection)
  await writeOutputs(view, result)
  const { all, ...shown } = result
  const next = view.next && nextRun(inspection, all, view.next)
  return {
    ...shown,
    ...(plotted !== undefined && { plotted: plottedOf(plotted, result) }),
    ...(next !== undefined && { next }),
  }
}

/** Writes the files that were asked for, each whole or not at all. */
async function writeOutputs({ outputs, force }: ReportView, result: WholeResult): Promise<void> {
  const { html, svg, csv } = outputs
  if (html === undefined && svg === undefined && csv === undefined) return
  const { csvOf, htmlReport, spectrumSvg } = await import('./report-files.ts')
  const texts = [
    // its slider sums over the model, and its table sorts and filters by itself
    [html, () => htmlReport({ ...result, matrices: result.all })],
    [svg, () => spectrumSvg(result)],
    [csv, () => csvOf(result)],
  ] as const
  for (const [path, textOf] of texts) {
    if (path !== undefined) await writeTextAtomic(path, textOf(), { force })
  }
}

/** The matrix of this name, or why there is nothing to plot. */
function plottedOf(name: string, { all, unchanged }: WholeResult): NonNullable<InspectResult['plotted']> {
  const matrix = all.find((matrix) => matrix.name === name)
  if (matrix !== undefined) return { name, matrix }
  return { name, nothing: unchanged.includes(name) ? 'equal' : 'not-finite' }
}
