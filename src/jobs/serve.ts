/** The worker's side of run-jobs.ts. */
import { parentPort, workerData } from 'node:worker_threads'
import { keptEngines } from './engines.ts'
import { type Order, plainError, type Report, type WorkerStart } from './messages.ts'
import { buffersOf, withOwnBuffers } from './plain-data.ts'
import type { JobContext, JobLoaders, Work } from './types.ts'

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
