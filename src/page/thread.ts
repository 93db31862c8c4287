import type { WorkerStart } from '../engine/wasm/pool.ts'
import { programAddress } from './program.ts'
import type { Start } from './serve.ts'

/** `startThread` of the engine, for browsers: the build puts it in the place of Node's. */
export function startThread(start: WorkerStart): void {
  new Worker(programAddress()).postMessage({ role: 'thread', start } satisfies Start)
}
