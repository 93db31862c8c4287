/** What the rooms use of node:worker_threads. */

/** A worker of the page's program is told what to do by messages alone. */
export const parentPort = null
export const workerData = undefined

/**
 * A thread of the embedded engine: of one memory with the thread that starts it, which browsers only allow a page that is isolated from
 * other origins. Elsewhere it is one helper fewer, as for one that fails to start.
 */
export class Worker {
  readonly #worker: globalThis.Worker | undefined

  constructor(_program: unknown, { workerData }: { readonly workerData: unknown }) {
    if (!self.crossOriginIsolated) return
    this.#worker = new self.Worker(self.location.href, { name: 'engine' })
    this.#worker.postMessage(workerData)
  }

  unref(): void {}

  on(_event: 'error', listener: (event: unknown) => void): void {
    if (this.#worker !== undefined) this.#worker.onerror = listener
  }
}
