import { inspectMatrix } from '../../commands/inspect/work.ts'
import { extractLayer } from '../../compress/layer.ts'
import { type JobLoaders, jobServer, plainError, type WorkerStart } from '../../jobs/worker.ts'
import { measureMatrix } from '../../measure/measure.ts'
import { apply } from '../host/io/disk.ts'
import { hireBy, lose } from '../host/jobs/hiring.ts'
import type { PageOrder } from '../host/jobs/thread.ts'
import type { FromDesk, Results, Task, ToDesk, Told } from './messages.ts'
import { adapterTask, factorTask, inspectTask } from './tasks.ts'

/** The jobs that are shared out among workers. */
const loaders: JobLoaders = {
  inspect: async () => inspectMatrix,
  extract: async () => extractLayer,
  measure: async () => measureMatrix,
}

/** What a worker of jobs does with what comes by its port. */
export function serveJobs(port: MessagePort): void {
  port.onmessage = ({ data: start }: MessageEvent<WorkerStart>) => {
    const answer = jobServer(loaders, start, (message, buffers) => port.postMessage(message, buffers))
    port.onmessage = ({ data: order }: MessageEvent<PageOrder>) => {
      apply(order.told)
      void answer(order)
    }
  }
}

/** What a desk speaks by: a worker's own scope, or a port where there are no workers. */
interface Line {
  onmessage: ((event: MessageEvent) => void) | null
  postMessage(message: FromDesk, ports?: Transferable[]): void
}

/** Does the one task that it is given, with workers that it asks the page for. */
export function serveDesk(line: Line): void {
  hireBy((hiring, ports) => line.postMessage(hiring, ports))
  const tell = (told: Told) => line.postMessage(told)
  line.onmessage = async ({ data }: MessageEvent<ToDesk>) => {
    if (data.type === 'lost') return lose(data.id, data.problem)
    try {
      const { weights, base } = data.task.inputs
      const files = [...weights.files, ...(base?.files ?? [])]
      apply(files.map(([path, blob]) => ({ path, blob })))
      line.postMessage({ type: 'done', result: await done(data.task, tell) })
    } catch (error) {
      line.postMessage({ type: 'failed', error: plainError(error) })
    }
  }
}

function done(task: Task, tell: (told: Told) => void): Promise<Results[Task['kind']]> {
  switch (task.kind) {
    case 'inspect':
      return inspectTask(task, tell)
    case 'factor':
      return factorTask(task, tell)
    case 'adapter':
      return adapterTask(task, tell)
  }
}
