import { Worker } from 'node:worker_threads'
import { errnoOf, LoraSvdError, osReason } from '../errors.ts'
import type { Order, Report, WorkerStart } from './worker.ts'

/** A thread that does jobs, as the one that started it sees it. */
export interface Thread {
  order(order: Order): void
  /** Whether the process lasts as long as this thread. */
  keepAlive(is: boolean): void
  /** Ends it whatever it does; resolves when it is gone. A library's call is waited for. */
  end(): Promise<unknown>
}

export interface ThreadEvents {
  report(report: Report): void
  /** It is gone, or what it said can't be understood. */
  failure(error: Error): void
}

/** Starts a thread that runs `file`. */
export function startThread(file: URL, start: WorkerStart, { report, failure }: ThreadEvents): Thread {
  const worker = new Worker(file, { workerData: start, execArgv: [] })
  worker.on('message', report)
  worker.on('messageerror', failure)
  worker.on('error', (error) => failure(deathOf(error)))
  worker.on('exit', (code) => {
    const message = `a worker thread ended in the middle of its work, with code ${code}; ${WHAT_TO_DO}`
    failure(new LoraSvdError('system', message))
  })
  return {
    order: (order) => worker.postMessage(order),
    keepAlive: (is) => (is ? worker.ref() : worker.unref()),
    end: () => worker.terminate(),
  }
}

const WHAT_TO_DO = 'run again with fewer --threads or less --memory'

/** What a worker died of; an error that nobody caught is a defect, and is reported as it is. */
function deathOf(error: Error): Error {
  const code = errnoOf(error)
  if (code === 'ERR_WORKER_OUT_OF_MEMORY') {
    return new LoraSvdError('system', `a worker thread ran out of memory; ${WHAT_TO_DO}`, { cause: error })
  }
  const isSystems = typeof (error as NodeJS.ErrnoException).errno === 'number'
  // its message names what the system refused
  if (!isSystems && code !== 'ERR_WORKER_INIT_FAILED') return error
  const reason = isSystems ? osReason(error) : error.message
  return new LoraSvdError('system', `a worker thread can't start or go on: ${reason}; ${WHAT_TO_DO}`, {
    cause: error,
  })
}
