import { assertNotRead, nameOfStandardInput } from '../checkpoint/not-read.ts'
import { assertUnchanged } from '../checkpoint/unchanged.ts'
import type { EngineRequest } from '../engine/policy.ts'
import { ExitCode } from '../errors.ts'
import { assertWritable } from '../formats/write-atomic.ts'
import { writeJson } from '../report/json.ts'
import { shownName } from '../report/names.ts'
import { wrap } from '../report/table.ts'
import { type Watch, watchedJobs } from '../report/watched-jobs.ts'
import { whileInterruptible } from '../terminal/interrupt.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { inspectDocument } from './document.ts'
import { nonFiniteOthers } from './others.ts'
import { writeOutputs, writtenText } from './outputs.ts'
import type { InspectPlan } from './plan.ts'
import { plottedMatrix } from './plot/choose.ts'
import { plotText } from './plot/plot.ts'
import { openSubjects, type Subjects } from './subject.ts'
import { type Summary, summary } from './summary.ts'
import { inspectTables } from './tables/tables.ts'
import { bytesOf, type Finding, flopsOf, type InspectJob, inspectMatrix } from './work.ts'

/** Opens the weights, looks at every matrix, and reports. Gives the exit code. */
export async function inspect(
  plan: InspectPlan,
  request: EngineRequest,
  output: { json: boolean; quiet: boolean },
  terminal: Terminal,
): Promise<number> {
  const start = performance.now()
  for (const path of Object.values(plan.outputs)) await assertWritable(path, plan)
  const opened = await openSubjects(plan, terminal.stdin)
  const shown = plan.plot === undefined ? undefined : plottedMatrix(plan.plot, opened.subjects, plan.path)
  const flags = Object.fromEntries(Object.entries(plan.outputs).map(([kind, path]) => [`--${kind}`, path]))
  const named = nameOfStandardInput([plan.path, plan.base])
  await assertNotRead(flags, [...opened.inputs.flatMap(({ files }) => files), ...named])
  const findings = await whileInterruptible((signal) =>
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
