import type { Engine } from '../../linalg/engine.ts'
import { decompositions } from '../../linalg/svd/decompositions.ts'
import { createHeap, createSharedMemory, type Heap } from './memory.ts'
import { compileKernels, instantiateKernels, type Kernels } from './module.ts'
import { createPool, type Pool } from './pool.ts'
import { gram, multiply } from './products.ts'
import { resident } from './resident.ts'
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
    gram: (A, of) => gram(runtime, A, of),
    resident: (A) => resident(runtime, A),
    ...decompositions(wasmSvdKernels(runtime)),
    close: runtime.close,
  }
}

/** One shared memory with its kernels, its allocator and its threads. */

export interface WasmRuntime extends Pool {
  readonly memory: WebAssembly.Memory
  readonly heap: Heap
  readonly kernels: Kernels
  /** Threads that share a task, the calling one included. */
  readonly threads: number
}

export interface RuntimeOptions {
  /** How many threads compute, the calling one included; 1 when left out. */
  readonly threads?: number
}

/** Compiles the kernels and lays out their memory. Throws LoraSvdError 'system' when either can't be had. */
export function createWasmRuntime({ threads = 1 }: RuntimeOptions = {}): WasmRuntime {
  const memory = createSharedMemory()
  const module = compileKernels()
  const kernels = instantiateKernels(module, memory)
  const heap = createHeap(memory, kernels.heapBase())
  const pool = createPool(threads, module, memory, heap, kernels)
  return { memory, heap, kernels, threads, ...pool }
}
