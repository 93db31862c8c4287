import { createHeap, createSharedMemory, type Heap } from './memory.ts'
import { compileKernels, instantiateKernels, type Kernels } from './module.ts'

/** Memory with the kernels that sweep over stored matrices; kept by each thread, as pages that are new are slow. */

export interface Workspace {
  readonly kernels: Kernels
  readonly memory: WebAssembly.Memory
  /** The address of a block that is freed when the work is done. */
  allocate(bytes: number): number
}

interface Kept {
  readonly kernels: Kernels
  readonly memory: WebAssembly.Memory
  readonly heap: Heap
}

const idle: Kept[] = []

/** Runs `work` with memory that nobody else uses meanwhile. What `work` leaves there is overwritten later. */
export async function withWorkspace<T>(work: (workspace: Workspace) => Promise<T>): Promise<T> {
  const kept = idle.pop() ?? create()
  const { kernels, memory, heap } = kept
  const blocks: number[] = []
  const allocate = (bytes: number) => {
    const address = heap.allocate(bytes)
    blocks.push(address)
    return address
  }
  try {
    return await work({ kernels, memory, allocate })
  } finally {
    for (const address of blocks) heap.free(address)
    idle.push(kept)
  }
}

function create(): Kept {
  const memory = createSharedMemory()
  const kernels = instantiateKernels(compileKernels(), memory)
  return { kernels, memory, heap: createHeap(memory, kernels.heapBase()) }
}
