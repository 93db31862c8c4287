/** One shared memory with its kernels, its allocator and its threads. */
import { createHeap, createSharedMemory, type Heap } from './memory.ts'
import { compileKernels, instantiateKernels, type Kernels } from './module.ts'
import { TASK_WORDS, type Task, writeTask } from './task.ts'

export interface WasmRuntime {
  readonly memory: WebAssembly.Memory
  readonly heap: Heap
  readonly kernels: Kernels
  /** Threads that share a task, the calling one included. */
  readonly threads: number
  /** Does all tiles of the task and returns when they are done. */
  run(task: Task): void
}

export interface RuntimeOptions {
  readonly threads?: number
}

export function createWasmRuntime({ threads = 1 }: RuntimeOptions = {}): WasmRuntime {
  const memory = createSharedMemory()
  const kernels = instantiateKernels(compileKernels(), memory)
  const heap = createHeap(memory, kernels.heapBase())
  const task = heap.allocate(TASK_WORDS * Uint32Array.BYTES_PER_ELEMENT)
  const scratch = heap.allocate(kernels.scratchBytes())
  const words = new Uint32Array(memory.buffer, task, TASK_WORDS)
  return {
    memory,
    heap,
    kernels,
    threads,
    run(order) {
      writeTask(words, order)
      kernels.work(task, scratch)
    },
  }
}
