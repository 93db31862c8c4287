import { demoDocument } from '../../commands/demo/json.ts'
import { type NotebookRun, notebook } from '../../commands/demo/notebook.ts'
import { type DemoOptions, demoSettings } from '../../commands/demo/options.ts'
import { failureReason } from '../../commands/demo/reason.ts'
import { decompositionFlops } from '../../engine/choice.ts'
import type { Matrix } from '../../linalg/matrix/matrix.ts'
import { writeJson } from '../../report/json.ts'
import { engineNotice, pageEngine } from '../engine.ts'
import type { Task } from '../messages.ts'
import { type Others, otherFactors } from './others.ts'

/** A run of the notebook as the lesson shows it. */
export interface LessonRun extends NotebookRun {
  /** B·A [d, k] */
  readonly BA: Matrix
  /** Why allclose is false, in the command's words; '' where it is true. */
  readonly reason: string
  /** What computed, where a reader should know of it. */
  readonly notice: string | undefined
}

const runNotebook: Task<DemoOptions, LessonRun> = (options) => {
  const run = runOf(options)
  const { W, B, A } = run.result
  const BA = pageEngine(decompositionFlops(W.rows, W.columns)).multiply(B, A)
  const reason = run.result.allclose ? '' : failureReason(run.result)
  return { ...run, BA, reason, notice: engineNotice() }
}

function runOf(options: DemoOptions): NotebookRun {
  const settings = demoSettings(options)
  return notebook(settings, pageEngine(decompositionFlops(settings.d, settings.k)))
}

/** The document that `demo --json --matrices` prints into a pipe, byte for byte. */
const printDocument: Task<DemoOptions, string> = async (options) => {
  const parts: string[] = []
  const out = async (part: string) => {
    parts.push(part)
  }
  await writeJson({ out, isOutTerminal: false }, demoDocument(runOf(options).result, true))
  return parts.join('')
}

const tryOthers: Task<{ readonly W: Matrix; readonly rank: number; readonly seed: bigint }, void, Others> = (
  { W, rank, seed },
  tell,
) => {
  // a thousand products: worth an engine even where one of them is not
  const engine = pageEngine(1000 * decompositionFlops(W.rows, W.columns))
  for (const others of otherFactors(W, rank, seed, engine)) tell(others)
}

/** What workers do for the lesson. */
export const lessonTasks = { notebook: runNotebook, document: printDocument, others: tryOthers }
