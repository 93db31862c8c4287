/** What the rooms use of node:worker_threads: a worker of the page is told what to do by messages alone. */

export const parentPort = null
export const workerData = undefined
