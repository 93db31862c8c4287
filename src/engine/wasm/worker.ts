import { workerData } from 'node:worker_threads'
import { helpWith } from './help.ts'

/** A thread of the embedded engine. */
helpWith(workerData)
