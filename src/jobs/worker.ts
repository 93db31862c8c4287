import { types } from 'node:util'
import { parentPort, workerData } from 'node:worker_threads'
import { type EngineChoice, type EngineRequest, preferredEngine } from '../engine/choice.ts'
import { openEngine } from '../engine/open.ts'
import { type ErrorCode, LoraSvdError } from '../errors.ts'
import { adoptNetwork, type WorkerNetwork } from '../io/remote/network.ts'
import type { Engine, EngineName } from '../linalg/engine.ts'
import type { EarlyThreads } from './early.ts'

/** What a worker is told at its start. */
export interface WorkerStart {
  readonly kind: string
  readonly engine: EngineChoice
  readonly threads: number
  /** How files elsewhere are read. */
  readonly network: WorkerNetwork | undefined
}

/** To a worker. */
export interface Order {
  readonly index: number
  readonly job: unknown
  /** The LAPACK that the thread which orders has checked. */
  readonly library?: string | undefined
}

/** From a worker. */
export type Report =
  | { readonly type: 'result'; readonly index: number; readonly result: unknown }
  | { readonly type: 'failure'; readonly index: number; readonly error: PlainError }
  | { readonly type: 'notice'; readonly line: string }
  | { readonly type: 'received'; readonly bytes: number }

/** An error as plain data: messages between threads carry no classes. */
export interface PlainError {
  readonly name: string
  readonly message: string
  readonly stack?: string | undefined
  readonly code?: ErrorCode
  readonly file?: string | undefined
  readonly tensor?: string | undefined
}

export function plainError(error: unknown): PlainError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) }
  const { name, message, stack } = error
  if (!(error instanceof LoraSvdError)) return { name, message, stack }
  const { code, file, tensor } = error
  return { name, message, stack, code, file, tensor }
}

/** The error that `plain` was made from, with the stack it had; a LoraSvdError is one again. */
export function revivedError(plain: PlainError): Error {
  const error = revive(plain)
  if (plain.stack !== undefined) error.stack = plain.stack
  return error
}

function revive({ name, message, code, file, tensor }: PlainError): Error {
  if (code !== undefined) {
    return new LoraSvdError(code, message, {
      ...(file !== undefined && { file }),
      ...(tensor !== undefined && { tensor }),
    })
  }
  // Memory that can't be had is a RangeError, and reported as such.
  if (name === 'RangeError') return new RangeError(message)
  return Object.assign(new Error(message), { name })
}

/**
 * The value with every typed array alone in its buffer: parts of larger buffers, and all that lies in shared memory, are
 * copied. A message carries whole buffers, so that a part would take the rest of its buffer along.
 */
export function withOwnBuffers<T>(value: T): T {
  return mapped(value, (view) => (isWhole(view) ? view : (view as Uint8Array).slice())) as T
}

/** The buffers in `value`, each once: to be moved to another thread and not copied. */
export function buffersOf(value: unknown): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>()
  mapped(value, (view) => {
    buffers.add(view.buffer as ArrayBuffer)
    return view
  })
  return [...buffers]
}

/** The bytes of all buffers in `value`. */
export const bufferBytes = (value: unknown): number =>
  buffersOf(value).reduce((sum, { byteLength }) => sum + byteLength, 0)

const isWhole = (view: NodeJS.TypedArray): boolean =>
  view.byteLength === view.buffer.byteLength && view.buffer instanceof ArrayBuffer

/** Plain data with each typed array replaced; Maps and plain objects are gone through, anything else is left as it is. */
function mapped(value: unknown, replace: (view: NodeJS.TypedArray) => NodeJS.TypedArray): unknown {
  if (types.isTypedArray(value)) return replace(value)
  if (Array.isArray(value)) return value.map((entry) => mapped(entry, replace))
  if (value instanceof Map)
    return new Map([...value].map(([key, entry]) => [key, mapped(entry, replace)] as const))
  if (typeof value !== 'object' || value === null || !isPlain(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, mapped(entry, replace)]))
}

function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

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
  /** Opens what jobs read, so that those which are done in this thread don't each; what it gives closes it. */
  openFiles?(): Promise<() => Promise<void>>
  /** Where results come as soon as they are there: of how many of the first jobs that are left the largest starts next; of all when left out. */
  readonly ahead?: number
  onStart?(index: number): void
  onDone?(index: number, seconds: number): void
  /** Ends everything; the generator then throws the signal's reason. */
  readonly signal?: AbortSignal
  /** Threads that run dist/job-worker.cjs already. */
  readonly early?: EarlyThreads | undefined
  /** The bundle that workers run; dist/job-worker.cjs when left out. */
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

type Send = (message: Report, buffers: ArrayBuffer[]) => void

/** What a worker does with an order: the job, of which `send` gets the result or the failure. */
export function jobServer(
  loaders: JobLoaders,
  { kind, engine, threads }: Omit<WorkerStart, 'network'>,
  send: Send,
): (order: Order) => Promise<void> {
  const notice = (line: string) => send({ type: 'notice', line }, [])
  let context: JobContext | undefined
  return async ({ index, job, library }) => {
    context ??= { engine: keptEngines({ engine, threads, checked: library }, notice), notice }
    try {
      if (!Object.hasOwn(loaders, kind))
        throw new Error(`this program of workers has no jobs of kind ${kind}`)
      const work = (await loaders[kind]()) as Work<unknown, unknown>
      const result = withOwnBuffers(await work(job, context))
      send({ type: 'result', index, result }, buffersOf(result))
    } catch (error) {
      send({ type: 'failure', index, error: plainError(error) }, [])
    }
  }
}

/** Does the jobs that the thread which started this worker sends, one after the other, until it ends this worker. */
export function serveJobs(loaders: JobLoaders): void {
  const port = parentPort
  if (port === null) throw new Error('this file runs in a worker thread, which runJobs starts')
  const start = workerData as WorkerStart
  const { received, flush } = inBatches((bytes) => port.postMessage({ type: 'received', bytes }))
  const send: Send = (message, buffers) => {
    flush()
    port.postMessage(message, buffers)
  }
  adoptNetwork(start.network, { notice: (line) => send({ type: 'notice', line }, []), received })
  // what a job needs may be loaded before there is one; a failure is the job's
  loaders[start.kind]?.().catch(() => {})
  port.on('message', jobServer(loaders, start, send))
}

/** Milliseconds between two reports of bytes that came: a line that people read needs no more. */
const BETWEEN_REPORTS = 100

/** Counts together, so that not every few kilobytes are a message. */
function inBatches(report: (bytes: number) => void) {
  let [bytes, last] = [0, Number.NEGATIVE_INFINITY]
  const flush = () => {
    if (bytes > 0) report(bytes)
    bytes = 0
    last = performance.now()
  }
  return {
    received: (count: number) => {
      bytes += count
      if (performance.now() - last >= BETWEEN_REPORTS) flush()
    },
    flush,
  }
}
