import { availableParallelism } from 'node:os'
import { setImmediate } from 'node:timers/promises'
import { holdOpen, ifFew } from '../checkpoint/read.ts'
import type { EngineChoice, EngineRequest } from '../engine/choice.ts'
import { LoraSvdError } from '../errors.ts'
import { pointingIntoCache } from '../io/remote/cache.ts'
import { bytesToCome } from '../io/remote/kept.ts'
import { inNetwork } from '../io/remote/network.ts'
import { type EarlyThreads, earlyThreads } from './early.ts'
import { withBytes } from './received.ts'
import { runJobs, runJobsAsDone } from './run-jobs.ts'
import { defaultMemory } from './schedule.ts'
import type { JobOptions, Work } from './worker.ts'

/**
 * How far a piece of work is, as plain data: a piece starts, its items begin and are done, bytes are received from elsewhere, and it
 * ends.
 */
export interface ProgressEvent {
  readonly kind: 'start' | 'begin' | 'received' | 'done' | 'end'
  /** What is being done. `reading` has no items: it is what comes from elsewhere before other work begins. */
  readonly phase:
    | 'reading'
    | 'inspecting'
    | 'extracting'
    | 'extending'
    | 'summing'
    | 'measuring'
    | 'factoring'
    | 'decomposing'
    | 'sampling'
    | 'applying'
    | 'comparing'
    | 'checking'
  /** What the items are. */
  readonly noun: 'matrices' | 'layers' | 'tensors' | 'pieces' | 'files'
  /** Items that are done, of so many. */
  readonly done: number
  readonly items: number
  /** Work that is done, of so much in all, in a unit that takes about the same time wherever it is spent. */
  readonly work: number
  readonly total: number
  readonly unit: 'flops' | 'bytes'
  /** The item that begins or is done. */
  readonly name?: string
  /** What came over the network since this piece of work started; nothing where all lies on this machine. */
  readonly received?: ReceivedBytes
}

export interface ReceivedBytes {
  readonly bytes: number
  /** How many will come in all, where that is known. */
  readonly expected?: number
}

/** What every function takes beside what it is about. */
export interface CommonOptions {
  /** What computes: the embedded engine, the system's LAPACK, or what suits the work, which is the default. */
  readonly engine?: EngineChoice | undefined
  /** Threads that compute, 1 to 256; by default as many as the machine has. */
  readonly threads?: number | undefined
  /** Gets told how far the work is. It is called in the middle of the work, so it should be quick, and not throw. */
  readonly onProgress?: ((event: ProgressEvent) => void) | undefined
  /** Gets lines that a user should know of and that stop nothing, such as that a LAPACK was found that can't be trusted. */
  readonly onNotice?: ((line: string) => void) | undefined
  /** Its abort ends the work: the function then throws LoraSvdError 'interrupted'. Files appear whole or not at all. */
  readonly signal?: AbortSignal | undefined
}

/** What a function takes that reads weights. */
export interface ReadingOptions extends CommonOptions {
  /** What the path `-` stands for; by default the standard input of the process. */
  readonly stdin?: AsyncIterable<Uint8Array | string> | undefined
  /** The variables that say where the Hugging Face cache is, and how to ask the Hub; by default those of the process. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
  /** Read `org/name` from the Hub where the cache doesn't have it; `hf://org/name` is always read from there. */
  readonly online?: boolean | undefined
  /** Keep files of the Hub whole in the cache of Hugging Face's tools, and read those that are there from it. */
  readonly cache?: boolean | undefined
}

/** Where work runs, what it may use, and who is told of it. */
export interface RunContext {
  readonly request: EngineRequest
  /** Bytes for all that is in work; a share of the machine's when undefined. */
  readonly memory?: number | undefined
  readonly progress: (event: ProgressEvent) => void
  readonly notice: (line: string) => void
  readonly signal?: AbortSignal
  /** Where threads can be started before there are jobs for them; they last as long as the context. */
  readonly early?: EarlyThreads
  readonly opening: {
    readonly stdin?: AsyncIterable<Uint8Array | string>
    readonly env?: Readonly<Record<string, string | undefined>>
    readonly online?: boolean
  }
}

/** Does work in the context that the options of a caller make. An abort of the caller's signal has one reason in it: `interrupted`. */
export async function inContext<T>(
  options: ReadingOptions & { readonly memory?: number | undefined },
  work: (context: RunContext) => Promise<T>,
): Promise<T> {
  const { engine = 'auto', threads, memory, onProgress = () => {}, onNotice = () => {}, signal } = options
  const { stdin, env, online, cache: keeps } = options
  const { progress, received, end } = withBytes(onProgress)
  const early = earlyThreads(engine)
  const controller = new AbortController()
  const stop = () => controller.abort(interruption(signal?.reason))
  if (signal?.aborted) stop()
  else signal?.addEventListener('abort', stop, { once: true })
  try {
    controller.signal.throwIfAborted()
    const context: RunContext = {
      request: { engine, threads },
      memory,
      progress,
      notice: onNotice,
      signal: controller.signal,
      early,
      opening: {
        ...(stdin !== undefined && { stdin: untilAborted(stdin, controller.signal) }),
        ...(env !== undefined && { env }),
        ...(online !== undefined && { online }),
      },
    }
    return await inNetwork(
      { env, keeps, received, notice: onNotice, signal: controller.signal },
      async () => {
        try {
          return await work(context)
        } catch (error) {
          throw await pointingIntoCache(error)
        }
      },
    )
  } finally {
    await early.end()
    end()
    signal?.removeEventListener('abort', stop)
  }
}

const interruption = (reason: unknown) =>
  reason instanceof LoraSvdError && reason.code === 'interrupted'
    ? reason
    : new LoraSvdError('interrupted', 'interrupted', { cause: reason })

/** The same bytes, but that waiting for them ends with the abort. */
async function* untilAborted<T>(source: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T, void> {
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
  // nobody may be waiting when it comes
  aborted.catch(() => {})
  const iterator = source[Symbol.asyncIterator]()
  for (;;) {
    const next = await Promise.race([iterator.next(), aborted])
    if (next.done) return
    yield next.value
  }
}

/** The bytes [begin, end) of a file. */
export interface FilePart {
  readonly file: string
  readonly begin: number
  readonly end: number
}

/** Jobs of one kind, and what is told of them. */
export interface JobKind<J, R> {
  /** By which a worker finds `work`. */
  readonly kind: string
  readonly work: Work<J, R>
  flopsOf(job: J): number
  bytesOf(job: J): number
  /** What is in hand. */
  nameOf(job: J): string
  /** How much of the whole a job is, in `task.unit`; its flops when left out. */
  sizeOf?(job: J): number
  /** What it reads of files, each byte as often as it is read: parts may lie elsewhere. */
  readsOf?(job: J): Iterable<FilePart>
  readonly task: Pick<ProgressEvent, 'phase' | 'noun' | 'unit'>
  /** All jobs of a run of which these are the rest. */
  readonly planFor?: readonly J[]
  /** Of how many of the first jobs that are left the largest starts next, where results come as they are there. */
  readonly ahead?: number
}

/** Does the jobs as `runJobs` does, and tells of them. */
export const doJobs = <J, R>(jobs: readonly J[], kind: JobKind<J, R>, context: RunContext) =>
  told(jobs, kind, context, (options) => runJobs(jobs, options))

/** The same, each result as soon as it is there. */
export const doJobsAsDone = <J, R>(jobs: readonly J[], kind: JobKind<J, R>, context: RunContext) =>
  told(jobs, kind, context, (options) => runJobsAsDone(jobs, options))

/** The files that jobs read. */
function* filesRead<J>(jobs: readonly J[], readsOf: (job: J) => Iterable<FilePart> = () => []) {
  for (const job of jobs) for (const { file } of readsOf(job)) yield file
}

async function* told<J, R, T>(
  jobs: readonly J[],
  { nameOf, sizeOf, readsOf, task, ...kind }: JobKind<J, R>,
  { request, memory = defaultMemory(), progress, notice, signal, early }: RunContext,
  run: (options: JobOptions<J, R>) => AsyncGenerator<T, void>,
): AsyncGenerator<T, void> {
  if (jobs.length === 0) return
  const { engine, threads = availableParallelism() } = request
  const size = sizeOf ?? kind.flopsOf
  const total = jobs.reduce((sum, job) => sum + size(job), 0)
  const expected = readsOf === undefined ? 0 : jobs.reduce((sum, job) => sum + bytesToCome(readsOf(job)), 0)
  let [done, work] = [0, 0]
  const tell = (event: Pick<ProgressEvent, 'kind' | 'name'>) =>
    progress({
      ...{ ...event, ...task, done, items: jobs.length, work, total },
      ...(expected > 0 && { received: { bytes: 0, expected } }),
    })
  tell({ kind: 'start' })
  try {
    yield* run({
      ...kind,
      threads,
      engine,
      memory,
      notice,
      early,
      onStart: (index) => tell({ kind: 'begin', name: nameOf(jobs[index]) }),
      onDone: (index) => {
        done++
        work += size(jobs[index])
        tell({ kind: 'done', name: nameOf(jobs[index]) })
      },
      openFiles: () => holdOpen(ifFew(filesRead(jobs, readsOf))),
      ...(signal !== undefined && { signal }),
    })
  } finally {
    tell({ kind: 'end' })
  }
}

/** One piece of work that doesn't return to the event loop; `name` says what it is about. An abort counts before and after it. */
export async function doOne<T>(
  phase: ProgressEvent['phase'],
  name: string,
  total: number,
  { progress, signal }: RunContext,
  work: () => T,
): Promise<T> {
  signal?.throwIfAborted()
  const event = { phase, noun: 'matrices', items: 1, total, unit: 'flops', name } as const
  progress({ ...event, kind: 'start', done: 0, work: 0 })
  let done = 0
  try {
    const result = work()
    done = 1
    progress({ ...event, kind: 'done', done, work: total })
    // signals and timers get their turn
    await setImmediate()
    signal?.throwIfAborted()
    return result
  } finally {
    progress({ ...event, kind: 'end', done, work: done * total })
  }
}
