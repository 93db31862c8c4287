import { parentPort, workerData } from 'node:worker_threads'
import { type EngineChoice, type EngineRequest, openEngine, preferredEngine } from '../engine/open.ts'
import type { Engine, EngineName } from '../linalg/engine.ts'
import {
  buffersOf,
  type Order,
  plainError,
  type Report,
  type WorkerStart,
  withOwnBuffers,
} from './messages.ts'

/** What a job may use besides its own data. */
export interface JobContext {
  /** The engine for work of about `flops`; the same one for all jobs that a thread does. */
  engine(flops: number): Promise<Engine>
  /** Tells the user something that stops nothing. */
  notice(line: string): void
}

/**
 * Does one job: plain data in, plain data out. Typed arrays of the result leave the thread without being copied, so
 * that a later job can't use them again.
 */
export type Work<J, R> = (job: J, context: JobContext) => R | Promise<R>

/**
 * For each kind of job how a worker loads the function that does it. `never`, as only the caller of `runJobs` knows what
 * a job of its kind is.
 */
export type JobLoaders = Readonly<Record<string, () => Promise<Work<never, unknown>>>>

export interface JobOptions<J, R> {
  /**
   * All jobs of a run of which these are the rest: workers and their threads are planned for those, so that bits which depend on
   * threads don't depend on where the run was cut. The jobs themselves when left out.
   */
  readonly planFor?: readonly J[]
  /** By which a worker finds `work`: a key of the table in job-worker.ts. */
  readonly kind: string
  /** What a worker does for a job of this kind; used where workers aren't worth their start. */
  readonly work: Work<J, R>
  /** Threads that compute, those of engines included. */
  readonly threads: number
  readonly engine: EngineChoice
  /** About how many flops a job takes, in the measure of `openEngine`. */
  flopsOf(job: J): number
  /** The most memory a job takes at one time, in bytes. */
  bytesOf(job: J): number
  /** The most bytes for all jobs that run and all results that wait; a single job may exceed it. */
  readonly memory: number
  /** Gets each line once, however many threads it comes from. */
  notice(line: string): void
  onStart?(index: number): void
  onDone?(index: number, seconds: number): void
  /** Ends everything; the generator then throws the signal's reason. */
  readonly signal?: AbortSignal
  /** The bundle that workers run; dist/job-worker.js when left out. */
  readonly workerFile?: URL
}

/**
 * Opens each engine once and keeps it: the embedded one costs time to make and its memory never shrinks. A LAPACK that
 * can't be had is looked for once.
 */
export function keptEngines(
  request: EngineRequest,
  notice: (line: string) => void,
): (flops: number) => Promise<Engine> {
  const kept = new Map<EngineName, Engine>()
  return async (flops) => {
    const wanted = preferredEngine(request.engine, flops)
    const found = kept.get(wanted)
    if (found !== undefined) return found
    const opened = await openEngine(request, flops, notice)
    const engine = kept.get(opened.name) ?? opened
    kept.set(wanted, engine).set(engine.name, engine)
    return engine
  }
}

/** The worker's side of run-jobs.ts. */

/** Does the jobs that the thread which started this worker sends, one after the other, until it ends this worker. */
export function serveJobs(loaders: JobLoaders): void {
  const port = parentPort
  if (port === null) throw new Error('this file runs in a worker thread, which runJobs starts')
  const { kind, engine, threads } = workerData as WorkerStart
  const report = (message: Report, buffers: ArrayBuffer[] = []) => port.postMessage(message, buffers)
  const notice = (line: string) => report({ type: 'notice', line })
  const context: JobContext = { engine: keptEngines({ engine, threads }, notice), notice }

  port.on('message', async ({ index, job }: Order) => {
    try {
      if (!Object.hasOwn(loaders, kind))
        throw new Error(`this program of workers has no jobs of kind ${kind}`)
      const work = (await loaders[kind]()) as Work<unknown, unknown>
      const result = withOwnBuffers(await work(job, context))
      report({ type: 'result', index, result }, buffersOf(result))
    } catch (error) {
      report({ type: 'failure', index, error: plainError(error) })
    }
  })
}
