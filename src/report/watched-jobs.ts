import { availableParallelism } from 'node:os'
import type { EngineRequest } from '../engine/open.ts'
import { runJobs, runJobsAsDone } from '../jobs/run-jobs.ts'
import { defaultMemory } from '../jobs/schedule.ts'
import type { JobOptions, Work } from '../jobs/serve.ts'
import { CLEAR_LINE } from '../terminal/status-line.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { progressOn, type Task } from './progress.ts'

/** Jobs of one kind, and what a person is told of them. */
export interface WatchedJobs<J, R> {
  /** By which a worker finds `work`. */
  readonly kind: string
  readonly work: Work<J, R>
  flopsOf(job: J): number
  bytesOf(job: J): number
  /** What is in hand. */
  nameOf(job: J): string
  /** How much of the whole a job is, in `task.unit`; its flops when left out. */
  sizeOf?(job: J): number
  readonly task: Pick<Task, 'label' | 'noun' | 'unit'>
  /** All jobs of a run of which these are the rest. */
  readonly planFor?: readonly J[]
}

/** Where jobs run and who watches. */
export interface Watch {
  readonly request: EngineRequest
  /** Bytes for all that is in work; a share of the machine's when undefined. */
  readonly memory: number | undefined
  readonly quiet: boolean
  readonly terminal: Terminal
  readonly signal: AbortSignal
}

/** Does the jobs as `runJobs` does, with progress and notices on the terminal. */
export const watchedJobs = <J, R>(jobs: readonly J[], watched: WatchedJobs<J, R>, watch: Watch) =>
  whileShown(jobs, watched, watch, (options) => runJobs(jobs, options))

/** The same, each result as soon as it is there. */
export const watchedJobsAsDone = <J, R>(jobs: readonly J[], watched: WatchedJobs<J, R>, watch: Watch) =>
  whileShown(jobs, watched, watch, (options) => runJobsAsDone(jobs, options))

async function* whileShown<J, R, T>(
  jobs: readonly J[],
  { nameOf, sizeOf, task, ...options }: WatchedJobs<J, R>,
  { request, memory = defaultMemory(), quiet, terminal, signal }: Watch,
  run: (options: JobOptions<J, R>) => AsyncGenerator<T, void>,
): AsyncGenerator<T, void> {
  if (jobs.length === 0) return
  const { engine, threads = availableParallelism() } = request
  const size = sizeOf ?? options.flopsOf
  const progress = progressOn(terminal, quiet)
  progress.start({ ...task, items: jobs.length, total: jobs.reduce((sum, job) => sum + size(job), 0) })
  try {
    yield* run({
      ...options,
      threads,
      engine,
      memory,
      notice: noticesTo(terminal, quiet),
      onStart: (index) => progress.begin(nameOf(jobs[index])),
      onDone: (index) => progress.step(size(jobs[index])),
      signal,
    })
  } finally {
    progress.end()
  }
}

/**
 * Runs `work` while a line on standard error says what is being done, and takes the line away again. Only on a terminal, and
 * not when `quiet`. The line stands still, because computations don't return to the event loop.
 */
export async function withStatus<T>(
  terminal: Pick<Terminal, 'err' | 'isErrTerminal' | 'paintErr'>,
  quiet: boolean,
  text: string,
  work: () => T | Promise<T>,
): Promise<T> {
  if (quiet || !terminal.isErrTerminal) return work()
  terminal.err(terminal.paintErr.dim(`${text} …`))
  try {
    return await work()
  } finally {
    terminal.err(CLEAR_LINE)
  }
}

/** Writes lines that a user should know of, and that stop nothing, to standard error; nothing when `quiet`. */
export function noticesTo(terminal: Terminal, quiet: boolean): (line: string) => void {
  return (line) => {
    if (!quiet) terminal.err(`${terminal.paintErr.yellow('lora-svd:')} ${line}\n`)
  }
}
