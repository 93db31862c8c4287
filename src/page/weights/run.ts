import { revivedError } from '../../jobs/worker.ts'
import type { FromDesk, Results, Task, ToDesk, Told } from './messages.ts'
import type { Post, Program } from './program.ts'

/** A task in work. */
export interface Running<K extends Task['kind']> {
  /** Rejects with the task's error, a LoraSvdError with its code; never settles once it is stopped. */
  readonly result: Promise<Results[K]>
  /** Ends it in the midst of what it does, all its workers with it. */
  stop(): void
}

/** Starts a task: a desk, and the workers that it asks for. Only the page can start workers everywhere. */
export function run<T extends Task>(
  task: T,
  program: Program,
  tell: (told: Told) => void,
): Running<T['kind']> {
  const workers = new Map<number, () => void>()
  let desk: Post | undefined
  const stop = () => {
    desk?.end()
    for (const end of workers.values()) end()
    workers.clear()
  }
  const result = new Promise<Results[T['kind']]>((resolve, reject) => {
    const fail = (error: Error) => {
      stop()
      reject(error)
    }
    const receive = (message: FromDesk) => {
      switch (message.type) {
        case 'hire': {
          const { id, port } = message
          const lost = (problem: string) => desk?.post({ type: 'lost', id, problem } satisfies ToDesk)
          workers.set(id, program.startJobs(port, lost))
          return
        }
        case 'dismiss':
          workers.get(message.id)?.()
          workers.delete(message.id)
          return
        case 'done':
          stop()
          resolve(message.result as Results[T['kind']])
          return
        case 'failed':
          fail(revivedError(message.error))
          return
        default:
          tell(message)
      }
    }
    desk = program.startDesk(receive, (problem) => fail(new Error(problem)))
    desk.post({ type: 'task', task } satisfies ToDesk)
  })
  return { result, stop }
}
