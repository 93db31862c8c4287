import type { Engine } from '../../linalg/engine.ts'
import { createHeap, createSharedMemory, type Heap } from './memory.ts'
import { compileKernels, instantiateKernels, type Kernels } from './module.ts'
import type { WasmEngine } from './wasm-engine.ts'

/** Memory with the kernels that sweep over stored matrices; kept by each thread, as pages that are new are slow. */

export interface Workspace {
  readonly kernels: Kernels
  readonly memory: WebAssembly.Memory
  /** The address of a block that is freed when the work is done. */
  allocate(bytes: number): number
  /** So many float32 numbers at an address. An engine whose memory this is works on them where they lie. */
  floats(address: number, count: number): Float32Array
}

/** Memory with its kernels, what hands it out, and what of it is known to lie there. */
export interface WorkMemory {
  readonly kernels: Kernels
  readonly memory: WebAssembly.Memory
  readonly heap: Heap
  readonly placed: WeakSet<ArrayBufferView>
}

const idle: WorkMemory[] = []

/** The embedded engine's own memory; undefined of other engines, which have none of that kind. */
export const memoryOf = (engine: Engine): WorkMemory | undefined => (engine as Partial<WasmEngine>).runtime

/**
 * Runs `work` with memory that nobody else uses meanwhile, or with blocks in the memory that is given. What `work` leaves there is
 * overwritten later.
 */
export async function withWorkspace<T>(
  work: (workspace: Workspace) => Promise<T>,
  given?: WorkMemory,
): Promise<T> {
  const taken = given ?? idle.pop() ?? create()
  const { kernels, memory, heap, placed } = taken
  const blocks: number[] = []
  const allocate = (bytes: number) => {
    const address = heap.allocate(bytes)
    blocks.push(address)
    return address
  }
  const floats = (address: number, count: number) => {
    const view = new Float32Array(memory.buffer, address, count)
    placed.add(view)
    return view
  }
  try {
    return await work({ kernels, memory, allocate, floats })
  } finally {
    for (const address of blocks) heap.free(address)
    if (given === undefined) idle.push(taken)
  }
}

function create(): WorkMemory {
  const memory = createSharedMemory()
  const kernels = instantiateKernels(compileKernels(), memory)
  return { kernels, memory, heap: createHeap(memory, kernels.heapBase()), placed: new WeakSet() }
}
