import type { EngineRequest } from '../../engine/open.ts'
import { ExitCode } from '../../errors.ts'
import { assertNotRead, assertUnchanged, nameOfStandardInput } from '../../io/files.ts'
import { assertWritable, writeFileAtomic } from '../../io/write-atomic.ts'
import { writeJson } from '../../report/json.ts'
import { type Watch, watchedJobs } from '../../report/watched-jobs.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { shownName } from '../../text/names.ts'
import { printable } from '../../text/quote.ts'
import { wrap } from '../../text/width.ts'
import { csvOf } from './csv.ts'
import { inspectDocument } from './document.ts'
import { htmlReport } from './html/report.ts'
import type { InspectPlan } from './options.ts'
import { plotText, plottedMatrix } from './plot.ts'
import { nonFiniteOthers, openSubjects, type Subjects } from './subject.ts'
import { type Summary, summary } from './summary.ts'
import { spectrumSvg } from './svg.ts'
import { inspectTables } from './text/text.ts'
import { bytesOf, type Finding, flopsOf, type InspectJob, inspectMatrix } from './work.ts'

type Outputs = Pick<InspectPlan, 'outputs' | 'force'>

/** What a report says of the files beside it. */
export function writtenText(
  { outputs }: Pick<InspectPlan, 'outputs'>,
  { columns }: Pick<Terminal, 'columns'>,
): string {
  const paths = Object.values(outputs).map(printable)
  return paths.length === 0 ? '' : `\n${wrap(`Wrote ${paths.join(', ')}.`, columns)}\n`
}

/** Writes the files that were asked for, each whole or not at all. */
export async function writeOutputs({ outputs, force }: Outputs, result: Summary): Promise<void> {
  const texts = [
    // its slider sums over the model, and its table sorts and filters by itself
    [outputs.html, () => htmlReport({ ...result, matrices: result.all })],
    [outputs.svg, () => spectrumSvg(result)],
    [outputs.csv, () => csvOf(result)],
  ] as const
  for (const [path, textOf] of texts) {
    if (path === undefined) continue
    const bytes = new TextEncoder().encode(textOf())
    await writeFileAtomic(path, [bytes], { force })
  }
}

/** Opens the weights, looks at every matrix, and reports. Gives the exit code. */
export async function inspect(
  plan: InspectPlan,
  request: EngineRequest,
  output: { json: boolean; quiet: boolean },
  terminal: Terminal,
): Promise<number> {
  const start = performance.now()
  for (const path of Object.values(plan.outputs)) await assertWritable(path, plan)
  const opened = await openSubjects(plan, { stdin: terminal.stdin, env: terminal.env })
  const shown = plan.plot === undefined ? undefined : plottedMatrix(plan.plot, opened.subjects, plan.path)
  const flags = Object.fromEntries(Object.entries(plan.outputs).map(([kind, path]) => [`--${kind}`, path]))
  const named = nameOfStandardInput([plan.path, plan.base])
  await assertNotRead(flags, [...opened.inputs.flatMap(({ files }) => files), ...named])
  const findings = await terminal.interruptible((signal) =>
    lookAtAll(plan, opened, { request, memory: plan.memory, quiet: output.quiet, terminal, signal }),
  )
  const nonFinite = await nonFiniteOthers(opened.others)
  for (const input of opened.inputs) await assertUnchanged(input)
  const seconds = (performance.now() - start) / 1000
  const result = summary(plan, opened, findings, seconds, nonFinite)

  await writeOutputs(plan, result)
  if (output.json) await writeJson(terminal, inspectDocument(result))
  else if (!output.quiet) {
    await terminal.out(inspectTables(result, terminal))
    if (shown !== undefined) await terminal.out(`\n${plotOf(shown, result, terminal)}`)
    await terminal.out(writtenText(plan, terminal))
  }
  const isWhole = result.nonFinite.length === 0 && !result.totals.unmatched
  return isWhole ? ExitCode.ok : ExitCode.checkFailed
}

/** The plot of a matrix, or why there is none. */
function plotOf(name: string, { all, unchanged }: Summary, terminal: Terminal): string {
  const plotted = all.find((matrix) => matrix.name === name)
  if (plotted !== undefined) return plotText(plotted, terminal)
  const why = unchanged.includes(name) ? 'is equal in both' : 'has entries that are NaN or infinite'
  return `${wrap(`No plot: ${shownName(name)} ${why}.`, terminal.columns)}\n`
}

async function lookAtAll(plan: InspectPlan, { subjects }: Subjects, watch: Watch): Promise<Finding[]> {
  const { extent, seed, path, base = '' } = plan
  const jobs = subjects.map((subject): InspectJob => ({ subject, extent, seed, path, basePath: base }))
  const how = {
    kind: 'inspect',
    work: inspectMatrix,
    flopsOf,
    bytesOf,
    nameOf: ({ subject }: InspectJob) => subject.name,
    task: { label: 'inspecting', noun: 'matrices', unit: 'flops' },
  } as const
  const findings: Finding[] = []
  for await (const finding of watchedJobs(jobs, how, watch)) findings.push(finding)
  return findings
}
