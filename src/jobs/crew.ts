import { network as networkOfRun, workerNetwork } from '../io/remote/network.ts'
import type { EarlyThreads } from './early.ts'
import type { Allotment } from './schedule.ts'
import { startThread, type Thread, type ThreadEvents } from './thread.ts'
import { type Report, revivedError, type WorkerStart } from './worker.ts'

/** The worker threads of one `runJobs`: started when there is a job for them, ended when they hold memory others need. */

export interface CrewEvents {
  result(index: number, result: unknown): void
  notice(line: string): void
  /** A job has thrown, or a worker is gone. */
  failure(error: Error): void
}

export interface Crew {
  /** Workers that could start a job now. */
  free(): number
  /** Whether no job runs. */
  isIdle(): boolean
  /** The bytes that the workers with a job hold. */
  busyBytes(): number
  /**
   * Gives a job that takes `bytes` to a worker; `room` is what it and the workers without a job may hold together. To be called
   * only while one is free.
   */
  start(index: number, job: unknown, bytes: number, room: number): void
  /** Ends all workers, whatever they do; resolves when their threads are gone. A library's call is waited for. */
  end(): Promise<void>
}

interface Member {
  readonly thread: Thread
  readonly threads: number
  /** The most that any job of this worker took: the memory of an embedded engine never shrinks. */
  held: number
  job: number | undefined
}

export interface CrewOptions extends Pick<WorkerStart, 'kind' | 'engine'> {
  readonly allotment: Allotment
  /** The most bytes for all of them. */
  readonly memory: number
  /** The LAPACK that has been checked. */
  readonly library: string | undefined
  /** What they run. */
  readonly file: URL
  /** Those that have been started already. */
  readonly early?: EarlyThreads | undefined
}

export function createCrew(options: CrewOptions, events: CrewEvents): Crew {
  const { allotment, memory, kind, engine, library, file, early } = options
  const network = workerNetwork(allotment.length)
  const { received } = networkOfRun()
  const unused = [...allotment]
  const members = new Set<Member>()
  const ending = new Set<Promise<unknown>>()

  const busy = () => [...members].filter(({ job }) => job !== undefined)
  const idle = () => [...members].filter(({ job }) => job === undefined).sort((a, b) => b.held - a.held)

  function hire(): Member {
    const threads = unused.shift()
    if (threads === undefined) throw new Error('no worker is free')
    const start: WorkerStart = { kind, engine, threads, network }
    const told: ThreadEvents = {
      report: (report) => {
        if (members.has(member)) receive(member, report)
      },
      failure: (error) => {
        if (members.has(member)) events.failure(error)
      },
    }
    const thread = early?.take(start, told) ?? startThread(file, start, told)
    const member: Member = { thread, threads, held: 0, job: undefined }
    members.add(member)
    return member
  }

  function dismiss(member: Member): void {
    members.delete(member)
    unused.push(member.threads)
    const gone = member.thread.end().finally(() => ending.delete(gone))
    ending.add(gone)
  }

  function receive(member: Member, report: Report): void {
    if (report.type === 'notice') {
      events.notice(report.line)
      return
    }
    if (report.type === 'received') {
      received(report.bytes)
      return
    }
    member.job = undefined
    // a worker without a job must not keep the process alive
    member.thread.keepAlive(false)
    if (report.type === 'result') events.result(report.index, report.result)
    else events.failure(revivedError(report.error))
  }

  function start(index: number, job: unknown, bytes: number, room: number): void {
    // one that holds more than its share, and than this job needs, would keep others from starting
    const most = Math.max(bytes, memory / allotment.length)
    for (const member of idle()) if (member.held > most) dismiss(member)
    const waiting = idle()
    const fitting = waiting.find(({ held }) => Math.max(held, bytes) <= room)
    let rest = room - Math.max(fitting?.held ?? 0, bytes)
    // those that hold the least stay; where none fits, all go
    for (const other of waiting.filter((other) => other !== fitting).reverse()) {
      if (other.held <= rest) rest -= other.held
      else dismiss(other)
    }
    const member = fitting ?? hire()
    member.held = Math.max(member.held, bytes)
    member.job = index
    member.thread.keepAlive(true)
    member.thread.order({ index, job, library })
  }

  return {
    free: () => allotment.length - busy().length,
    isIdle: () => busy().length === 0,
    busyBytes: () => busy().reduce((sum, { held }) => sum + held, 0),
    start,
    async end() {
      for (const member of members) dismiss(member)
      await Promise.all(ending)
    },
  }
}
