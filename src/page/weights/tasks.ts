import { extractDocument } from '../../commands/extract/document.ts'
import { extract } from '../../commands/extract/extract.ts'
import { extractVerdict, leftText } from '../../commands/extract/sentences.ts'
import { factor } from '../../commands/factor/factor.ts'
import { csvOf } from '../../commands/inspect/csv.ts'
import { inspectDocument } from '../../commands/inspect/document.ts'
import { matrixData, rankGrid } from '../../commands/inspect/html/data.ts'
import { headline, noticeLines, totalFigures } from '../../commands/inspect/html/page.ts'
import { inspected } from '../../commands/inspect/inspect.ts'
import { inspectSettings } from '../../commands/inspect/options.ts'
import type { InspectResult } from '../../commands/inspect/result.ts'
import type { Subject, Subjects } from '../../commands/inspect/subject.ts'
import { reportOf } from '../../commands/inspect/summary.ts'
import type { Finding } from '../../commands/inspect/work.ts'
import { inContext } from '../../jobs/context.ts'
import { blobAt, pathsIn } from '../host/io/disk.ts'
import { basename } from '../host/node/path.ts'
import type { Inputs } from './inputs.ts'
import type { Factored, Found, Made, Row, Summary, Task, Told } from './messages.ts'
import { zipped } from './zip.ts'

type Tell = (told: Told) => void

/** What every function of the library is given: the embedded engine, so that figures don't depend on the machine. */
const common = (tell: Tell) =>
  ({
    engine: 'wasm',
    env: {},
    onProgress: (event) => tell({ type: 'progress', event }),
    onNotice: (line) => tell({ type: 'notice', line }),
  }) as const satisfies Parameters<typeof factor>[0] extends infer O ? Partial<O> : never

const pathsOf = ({ weights, base }: Inputs) => ({
  path: weights.path,
  ...(base !== undefined && { base: base.path }),
})

/** A name as a pattern that is for it alone. */
const exactly = (name: string) => name.replace(/[*?[]/g, '[$&]')

/** `inspect`, whose findings are told as they come. */
export async function inspectTask(
  { inputs, only }: Extract<Task, { kind: 'inspect' }>,
  tell: Tell,
): Promise<Summary> {
  const options = {
    ...common(tell),
    ...pathsOf(inputs),
    ...(only !== undefined && { include: [exactly(only)] }),
  }
  const settings = inspectSettings(options)
  const result = await inContext(options, (context) =>
    inspected(settings, context, {
      opened: ({ kind, subjects }) => tell({ type: 'opened', subject: kind, rows: subjects.map(rowOf) }),
      found: (index, finding, opened) =>
        tell({ type: 'found', index, found: foundOf(opened.subjects[index], finding, opened) }),
    }),
  )
  return summaryOf(result)
}

function rowOf(subject: Subject): Row {
  const { name } = subject
  switch (subject.kind) {
    case 'weights':
      return { name, shape: [subject.weight.rows, subject.weight.columns], dtype: subject.weight.dtype }
    case 'delta':
      return { name, shape: [subject.tuned.rows, subject.tuned.columns], dtype: subject.tuned.dtype }
    case 'adapter':
      return {
        name,
        shape: [subject.module.rows, subject.module.columns],
        dtype: `rank ${subject.module.rank}`,
      }
  }
}

function foundOf(subject: Subject, finding: Finding, opened: Subjects): Found {
  switch (finding.kind) {
    case 'equal':
      return finding
    case 'not-finite':
      return { kind: 'not-finite', text: noticeLines({ ...NOTHING, nonFinite: finding.entries }).join('; ') }
    case 'spectrum': {
      const report = reportOf(subject, finding, opened)
      const grid = rankGrid([report.spectrum.singularValues.length])
      return { kind: 'spectrum', grid, matrix: matrixData(report, grid) }
    }
  }
}

/** A result that has nothing to say by itself. */
const NOTHING = { warnings: [], matrices: [], totals: { matrices: 0 } } as unknown as InspectResult

function summaryOf(result: InspectResult): Summary {
  const { source, recommended, unchanged, skipped, engine, seconds } = result
  return {
    ...headline(result),
    source: source.path,
    ...(source.base !== undefined && { base: source.base }),
    figures: totalFigures(result),
    ...(recommended && {
      advice: {
        reason: recommended.reason,
        ...(recommended.rank !== undefined && { rank: recommended.rank }),
      },
    }),
    notices: noticeLines(result),
    unchanged,
    skipped,
    engine,
    seconds,
    files: [
      { name: 'spectra.csv', blob: new Blob([csvOf(result)], { type: 'text/csv' }) },
      jsonFile('inspect.json', inspectDocument(result)),
    ],
  }
}

const jsonFile = (name: string, document: object): Made => ({
  name,
  blob: new Blob([`${JSON.stringify(document)}\n`], { type: 'application/json' }),
})

/** Where results are put. */
const MADE = 'made'

const madeIn = (folder: string): Made[] =>
  pathsIn(folder).map((path) => ({ name: path.slice(folder.length + 1), blob: blobAt(path)! }))

/** `factor` of one matrix. */
export async function factorTask(
  { inputs, name, rank }: Extract<Task, { kind: 'factor' }>,
  tell: Tell,
): Promise<Factored> {
  const out = `${MADE}/factors.safetensors`
  const start = performance.now()
  // a matrix without a name of its own has its file's
  const tensor = name === basename(inputs.weights.path) ? {} : { tensor: name }
  const result = await factor({ ...common(tell), matrix: inputs.weights.path, ...tensor, out, rank })
  const { relativeError, optimalError, engine } = result
  return {
    files: madeIn(MADE),
    rank: result.rank,
    layers: 1,
    left: [],
    relativeError,
    optimalError,
    engine,
    notes: result.certificate.reason === undefined ? [] : [result.certificate.reason],
    seconds: (performance.now() - start) / 1000,
  }
}

/** `extract` of the whole pair, or of one matrix of it. */
export async function adapterTask(
  { inputs, rank, only }: Extract<Task, { kind: 'adapter' }>,
  tell: Tell,
): Promise<Factored> {
  const out = `${MADE}/adapter`
  const result = await extract({
    ...common(tell),
    base: inputs.base!.path,
    tuned: inputs.weights.path,
    out,
    rank,
    ...(only !== undefined && { include: [exactly(only)] }),
  })
  const { totals, layers, seconds, engine } = result
  const files = madeIn(out).length > 0 ? madeIn(out) : [{ name: 'adapter.safetensors', blob: blobAt(out)! }]
  return {
    files: [await zipped('adapter', files), ...files, jsonFile('extract.json', extractDocument(result))],
    rank,
    layers: layers.length,
    relativeError: totals.relativeError,
    optimalError: totals.optimalError,
    engine,
    seconds,
    // of one delta alone all others are left, as it was asked
    left:
      only === undefined ? result.notCarried.map((one) => ({ name: one.name, reason: leftText(one) })) : [],
    notes: [extractVerdict(result), ...result.warnings],
  }
}
