/** One shared memory with its kernels, its allocator and its threads. */
import { createHeap, createSharedMemory, type Heap } from './memory.ts'
import { compileKernels, instantiateKernels, type Kernels } from './module.ts'
import { createPool, type Pool } from './pool.ts'

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
