import { bringNear } from '../../checkpoint/near.ts'
import { holdingOpen } from '../../checkpoint/read.ts'
import { assertNotRead, assertUnchanged, nameOfStandardInput } from '../../io/files.ts'
import { assertWritable, writeTextAtomic } from '../../io/write-atomic.ts'
import { doJobs, inContext, type RunContext } from '../../jobs/context.ts'
import { filesOf, tensorsOf } from '../../lora/model.ts'
import { csvOf } from './csv.ts'
import { htmlReport } from './html/report.ts'
import { assertChange, nextRun } from './next/run.ts'
import { type InspectOptions, type InspectSettings, inspectSettings } from './options.ts'
import { plottedMatrix } from './plot.ts'
import type { InspectResult } from './result.ts'
import { nonFiniteOthers, openSubjects, type Subjects } from './subject.ts'
import { inspectResult, type WholeResult } from './summary.ts'
import { spectrumSvg } from './svg.ts'
import { bytesOf, type Finding, flopsOf, type InspectJob, inspectMatrix } from './work.ts'

/**
 * Tells how low the rank of each matrix is: of a checkpoint, of what a fine-tune changed (`base`), or of an adapter. Writes the files
 * that are asked for, each whole or not at all. Throws LoraSvdError: `bad-usage` and `bad-input` for what can't be done,
 * `output-exists`, `system` where the machine fails, `interrupted`.
 */
export async function inspect(options: InspectOptions): Promise<InspectResult> {
  const settings = inspectSettings(options)
  return inContext({ ...options, memory: settings.memory }, (context) => inspected(settings, context))
}

async function inspected(settings: InspectSettings, context: RunContext): Promise<InspectResult> {
  const start = performance.now()
  const { outputs, plot, path, base } = settings
  for (const output of Object.values(outputs)) await assertWritable(output, settings)
  const opened = await openSubjects(settings, context.opening)
  if (settings.next !== undefined) assertChange(opened, path)
  const plotted = plot === undefined ? undefined : plottedMatrix(plot, opened.subjects, path)
  const flags = Object.fromEntries(Object.entries(outputs).map(([kind, output]) => [`--${kind}`, output]))
  const named = nameOfStandardInput([path, base])
  await assertNotRead(flags, [...opened.inputs.flatMap(({ files }) => files), ...named])
  const products = opened.subjects.flatMap((subject) =>
    subject.kind === 'adapter' ? [subject.module.product] : [],
  )
  await bringNear(products.flatMap(tensorsOf))
  const files = products.flatMap(filesOf)
  const findings = await holdingOpen(files, () => lookAtAll(settings, opened, context))
  await bringNear(opened.others.map(({ tensor }) => tensor))
  const nonFinite = await nonFiniteOthers(opened.others)
  for (const input of [...opened.inputs, ...(opened.moments === undefined ? [] : [opened.moments.file])]) {
    await assertUnchanged(input)
  }
  const seconds = (performance.now() - start) / 1000
  const result = inspectResult(settings, opened, findings, seconds, nonFinite)
  await writeOutputs(settings, result)
  const { all, ...shown } = result
  const next = settings.next && nextRun(opened, all, settings.next)
  return {
    ...shown,
    ...(plotted !== undefined && { plotted: plottedOf(plotted, result) }),
    ...(next !== undefined && { next }),
  }
}

/** Writes the files that were asked for, each whole or not at all. */
async function writeOutputs({ outputs, force }: InspectSettings, result: WholeResult): Promise<void> {
  const texts = [
    // its slider sums over the model, and its table sorts and filters by itself
    [outputs.html, () => htmlReport({ ...result, matrices: result.all })],
    [outputs.svg, () => spectrumSvg(result)],
    [outputs.csv, () => csvOf(result)],
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

async function lookAtAll(
  settings: InspectSettings,
  { subjects, moments }: Subjects,
  context: RunContext,
): Promise<Finding[]> {
  const { extent, intruders, seed, path, base = '' } = settings
  const jobs = subjects.map(
    (subject, i): InspectJob => ({
      subject,
      extent,
      intruders,
      seed,
      path,
      basePath: base,
      ...(moments?.ofLayers[i] !== undefined && { moments: moments.ofLayers[i] }),
    }),
  )
  const how = {
    kind: 'inspect',
    work: inspectMatrix,
    flopsOf,
    bytesOf,
    nameOf: ({ subject }: InspectJob) => subject.name,
    task: { phase: 'inspecting', noun: 'matrices', unit: 'flops' },
  } as const
  const findings: Finding[] = []
  for await (const finding of doJobs(jobs, how, context)) findings.push(finding)
  return findings
}
