import type { Engine } from '../../linalg/engine.ts'
import { createHeap, createSharedMemory, type Heap } from './memory.ts'
import { compileKernels, instantiateKernels, type Kernels } from './module.ts'
import type { WasmEngine } from './wasm-engine.ts'

/** Memory with the kernels that sweep over stored matrices; kept by each thread, as pages that are new are slow. */

export interface Workspace extends Pick<Heap, 'floats'> {
  readonly kernels: Kernels
  readonly memory: WebAssembly.Memory
  /** The address of a block that is freed when the work is done. */
  allocate(bytes: number): number
}

/** Memory with its kernels, and what gives out parts of it. */
export interface KernelMemory {
  readonly kernels: Kernels
  readonly memory: WebAssembly.Memory
  readonly heap: Heap
}

/** The memory of the embedded engine: what is made there needn't be copied to be computed with. None of other engines. */
export const memoryOf = (engine: Engine): KernelMemory | undefined =>
  engine.name === 'wasm' ? (engine as WasmEngine).runtime : undefined

const idle: KernelMemory[] = []

/**
 * Runs `work` with blocks of memory that nobody else uses meanwhile, of `within` or else of memory of this thread's own. What `work` leaves there is
 * overwritten later.
 */
export async function withWorkspace<T>(
  work: (workspace: Workspace) => Promise<T>,
  within?: KernelMemory,
): Promise<T> {
  const taken = within ?? idle.pop() ?? create()
  const { kernels, memory, heap } = taken
  const blocks: number[] = []
  const allocate = (bytes: number) => {
    const address = heap.allocate(bytes)
    blocks.push(address)
    return address
  }
  try {
    return await work({ kernels, memory, allocate, floats: heap.floats })
  } finally {
    for (const address of blocks) heap.free(address)
    if (taken !== within) idle.push(taken)
  }
}

function create(): KernelMemory {
  const memory = createSharedMemory()
  const kernels = instantiateKernels(compileKernels(), memory)
  return { kernels, memory, heap: createHeap(memory, kernels.heapBase()) }
}
