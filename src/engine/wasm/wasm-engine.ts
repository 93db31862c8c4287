import { decompositions } from '../../svd/decompositions.ts'
import type { Engine } from '../engine.ts'
import { gram, multiply } from './products.ts'
import { resident } from './resident.ts'
import { createWasmRuntime, type RuntimeOptions, type WasmRuntime } from './runtime.ts'
import { wasmSvdKernels } from './svd-kernels.ts'

export interface WasmEngine extends Engine {
  readonly name: 'wasm'
  readonly runtime: WasmRuntime
  /** Ends the worker threads, which otherwise last as long as the process but never keep it alive. */
  close(): void
}

/**
 * The embedded engine: SIMD kernels in WebAssembly, shared among `threads` threads, the calling one included. The
 * same bits for any number of threads. Throws LoraSvdError 'system' when the kernels can't be loaded or memory
 * can't be had.
 */
export function createWasmEngine(options: RuntimeOptions = {}): WasmEngine {
  const runtime = createWasmRuntime(options)
  return {
    name: 'wasm',
    threads: runtime.threads,
    runtime,
    multiply: (A, B, how) => multiply(runtime, A, B, how),
    gram: (A) => gram(runtime, A),
    resident: (A) => resident(runtime, A),
    ...decompositions(wasmSvdKernels(runtime)),
    close: runtime.close,
  }
}
