import type { WorkerStart } from '../engine/wasm/pool.ts'
import { programAddress } from './program.ts'
import type { Start } from './serve.ts'

/**
 * `startThread` of the engine, for browsers: the build puts it in the place of Node's. Threads share memory, which browsers allow only a
 * page that is isolated from other origins; elsewhere each is a helper fewer, and the results are the same.
 */
export function startThread(start: WorkerStart): void {
  if (!crossOriginIsolated) return
  try {
    new Worker(programAddress()).postMessage({ role: 'thread', start } satisfies Start)
  } catch {
    // a helper fewer
  }
}
