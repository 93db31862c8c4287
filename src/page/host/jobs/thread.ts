import { LoraSvdError } from '../../../errors.ts'
import type { Thread, ThreadEvents } from '../../../jobs/thread.ts'
import type { Order, Report, WorkerStart } from '../../../jobs/worker.ts'
import { type Change, changesSince } from '../io/disk.ts'
import { hire } from './hiring.ts'

/** Stands for jobs/thread.ts: the page starts a worker, which is spoken to by a port of its own. */

/** To a worker, after its first message, which is the `WorkerStart`. */
export interface PageOrder extends Order {
  /** Of the files, what has happened since the last order. */
  readonly told: readonly Change[]
}

export function startThread(_file: URL, start: WorkerStart, { report, failure }: ThreadEvents): Thread {
  const { port, end } = hire((problem) => {
    failure(new LoraSvdError('system', `a worker ended in the middle of its work: ${problem}; ${WHAT_TO_DO}`))
  })
  let next = 0
  port.onmessage = ({ data }: MessageEvent<Report>) => report(data)
  port.postMessage(start)
  return {
    order: (order) => {
      const changes = changesSince(next)
      next = changes.next
      port.postMessage({ ...order, told: changes.told } satisfies PageOrder)
    },
    keepAlive: () => {},
    end: async () => end(),
  }
}

const WHAT_TO_DO = 'close other tabs, or choose fewer matrices'
