/** The kernels the host calls. Addresses are bytes in the shared memory that the host hands out. */
import { GEMM_SCRATCH_BYTES, gemmTile } from './gemm'
import { Task } from './task'
import { TYPE_F32 } from './widen'

export { mirrorLower } from './gemm'
export { gemv, gemvTransposed, ger, rotate, symv } from './vectors'

export const KIND_GEMM: u32 = 0

/** The first byte the host may hand out. */
export function heapBase(): usize {
  return __heap_base
}

/** Bytes of private memory that each thread calling `work` needs. */
export function scratchBytes(): usize {
  return GEMM_SCRATCH_BYTES
}

/** Takes tiles of the task until none is left. Any number of threads may be in here at once. */
export function work(taskAddress: usize, scratch: usize): void {
  const task = changetype<Task>(taskAddress)
  for (;;) {
    const tile = atomic.add<u32>(taskAddress + offsetof<Task>('next'), 1)
    if (tile >= task.tiles) return
    if (task.arithmetic === TYPE_F32) gemmTile<f32>(task, tile, scratch)
    else gemmTile<f64>(task, tile, scratch)
  }
}
