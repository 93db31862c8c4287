import type { EngineChoice } from '../engine/choice.ts'
import { builtFile } from '../io/built-file.ts'
import { startThread, type Thread, type ThreadEvents } from './thread.ts'
import type { WorkerStart } from './worker.ts'

/** Threads that are started while it is still being planned what they will do, which takes about as long as they take to start. */
export interface EarlyThreads {
  /** Starts so many for jobs of a kind, which read nothing from elsewhere; each computes with one thread. */
  start(kind: string, count: number): void
  /** One that was started as it is wanted, which from now on is `events`' to hear of; undefined where there is none. */
  take(wanted: WorkerStart, events: ThreadEvents): Thread | undefined
  /** Ends those that nobody took. */
  end(): Promise<void>
}

interface Waiting {
  readonly start: WorkerStart
  readonly thread: Thread
  /** Tells of what has happened, and of what will. */
  listen(events: ThreadEvents): void
}

export function earlyThreads(engine: EngineChoice, file?: URL): EarlyThreads {
  const waiting: Waiting[] = []
  return {
    start(kind, count) {
      const start = { kind, engine, threads: 1, network: undefined }
      for (let i = 0; i < count; i++) waiting.push(started(file ?? builtFile('job-worker.cjs'), start))
    },
    take(wanted, events) {
      const at = waiting.findIndex(({ start }) => isSame(start, wanted))
      if (at < 0) return undefined
      const [{ thread, listen }] = waiting.splice(at, 1)
      listen(events)
      return thread
    },
    async end() {
      await Promise.all(waiting.splice(0).map(({ thread }) => thread.end()))
    },
  }
}

const isSame = (a: WorkerStart, b: WorkerStart): boolean =>
  a.kind === b.kind && a.engine === b.engine && a.threads === b.threads && a.network === b.network

function started(file: URL, start: WorkerStart): Waiting {
  const missed: ((events: ThreadEvents) => void)[] = []
  let listener: ThreadEvents | undefined
  const tell = (what: (events: ThreadEvents) => void) => {
    if (listener === undefined) missed.push(what)
    else what(listener)
  }
  const thread = startThread(file, start, {
    report: (report) => tell((events) => events.report(report)),
    failure: (error) => tell((events) => events.failure(error)),
  })
  thread.keepAlive(false)
  return {
    start,
    thread,
    listen(events) {
      listener = events
      // once whoever takes it has it
      queueMicrotask(() => {
        for (const what of missed) what(events)
      })
    },
  }
}
