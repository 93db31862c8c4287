import { demoDocument } from '../../commands/demo/json.ts'
import { type NotebookRun, notebook } from '../../commands/demo/notebook.ts'
import { type DemoOptions, demoSettings } from '../../commands/demo/options.ts'
import { decompositionFlops } from '../../engine/choice.ts'
import { engineNotice, pageEngine } from '../engine.ts'
import type { Task } from '../messages.ts'

/** A run of the notebook as the lesson shows it. */
export interface LessonRun extends NotebookRun {
  /** The document that `demo --json` prints, without the matrices. */
  readonly document: object
  /** What computed, where a reader should know of it. */
  readonly notice: string | undefined
}

const runNotebook: Task<DemoOptions, LessonRun> = (options) => {
  const settings = demoSettings(options)
  const run = notebook(settings, pageEngine(decompositionFlops(settings.d, settings.k)))
  return { ...run, document: demoDocument(run.result, false), notice: engineNotice() }
}

/** What workers do for the lesson. */
export const lessonTasks = { notebook: runNotebook }
