import { Worker } from 'node:worker_threads'
import { workerProgram } from './module.ts'
import type { WorkerStart } from './pool.ts'

/** Starts a thread of the embedded engine, which never keeps the process alive. One that can't start is a helper fewer: the results are the same. */
export function startThread(workerData: WorkerStart): void {
  const worker = new Worker(workerProgram(), { workerData, execArgv: [] })
  worker.unref()
  worker.on('error', () => {})
}
