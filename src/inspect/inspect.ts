import { availableParallelism } from 'node:os'
import { assertUnchanged } from '../checkpoint/unchanged.ts'
import type { EngineRequest } from '../engine/policy.ts'
import { ExitCode } from '../errors.ts'
import { assertWritable, writeFileAtomic } from '../formats/write-atomic.ts'
import { defaultMemory } from '../jobs/memory.ts'
import { runJobs } from '../jobs/run-jobs.ts'
import { writeJson } from '../report/json.ts'
import { noticesTo } from '../report/notice.ts'
import { progressOn } from '../report/progress.ts'
import { removingTemporaries, whileInterruptible } from '../terminal/interrupt.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { csvOf } from './csv.ts'
import { inspectDocument } from './document.ts'
import { htmlReport } from './html/report.ts'
import type { InspectPlan } from './plan.ts'
import { plottedMatrix } from './plot/choose.ts'
import { plotText } from './plot/plot.ts'
import type { InspectResult } from './result.ts'
import { openSubjects, type Subjects } from './subject.ts'
import { summary } from './summary.ts'
import { spectrumSvg } from './svg.ts'
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
  const findings = await whileInterruptible((signal) =>
    lookAtAll(plan, opened, request, output, terminal, signal),
  )
  for (const input of opened.inputs) await assertUnchanged(input)
  const seconds = (performance.now() - start) / 1000
  const result = summary(plan, opened, findings, seconds)

  await writeOutputs(plan, result)
  if (output.json) await writeJson(terminal, inspectDocument(result))
  else if (!output.quiet) {
    await terminal.out(inspectTables(result, terminal))
    const plotted = result.all.find(({ name }) => name === shown)
    if (plotted !== undefined) await terminal.out(`\n${plotText(plotted, terminal)}`)
  }
  return result.nonFinite.length > 0 ? ExitCode.checkFailed : ExitCode.ok
}

async function lookAtAll(
  plan: InspectPlan,
  { subjects }: Subjects,
  { engine, threads = availableParallelism() }: EngineRequest,
  { quiet }: { quiet: boolean },
  terminal: Terminal,
  signal: AbortSignal,
): Promise<Finding[]> {
  const { extent, seed, path, base = '', memory = defaultMemory() } = plan
  const jobs = subjects.map((subject): InspectJob => ({ subject, extent, seed, path, basePath: base }))
  const progress = progressOn(terminal, quiet)
  progress.start({
    label: 'inspecting',
    items: jobs.length,
    noun: 'matrices',
    total: jobs.reduce((sum, job) => sum + flopsOf(job), 0),
    unit: 'flops',
  })
  try {
    const findings: Finding[] = []
    const results = runJobs(jobs, {
      kind: 'inspect',
      work: inspectMatrix,
      threads,
      engine,
      flopsOf,
      bytesOf,
      memory,
      notice: noticesTo(terminal, quiet),
      onStart: (index) => progress.begin(subjects[index].name),
      onDone: (index) => progress.step(flopsOf(jobs[index])),
      signal,
    })
    for await (const finding of results) findings.push(finding)
    return findings
  } finally {
    progress.end()
  }
}

async function writeOutputs({ outputs, force }: InspectPlan, result: InspectResult): Promise<void> {
  const texts = [
    [outputs.html, () => htmlReport(result)],
    [outputs.svg, () => spectrumSvg(result)],
    [outputs.csv, () => csvOf(result)],
  ] as const
  for (const [path, textOf] of texts) {
    if (path === undefined) continue
    const bytes = new TextEncoder().encode(textOf())
    await removingTemporaries(() => writeFileAtomic(path, [bytes], { force }))
  }
}
