/** The kernels the host calls. Addresses are bytes in the shared memory that the host hands out. */
import { GEMM_SCRATCH_BYTES, gemmTile } from './gemm'
import { normalTile } from './normal'
import { frobeniusTile, residualTile } from './reduce'
import { Task } from './task'
import { TYPE_F32 } from './widen'

export { addExponents, subtract } from './difference'
export { mirrorLower } from './gemm'
export { gemv, gemvTransposed, ger, symvUpper } from './matrix-vector'
export { packRight } from './normal'
export { sumMatrices, sumTree } from './reduce'
export { rotate } from './vector'

const KIND_GEMM: u32 = 0
const KIND_NORMAL: u32 = 1
const KIND_FROBENIUS: u32 = 2
const KIND_RESIDUAL: u32 = 3

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
    doTile(task, tile, scratch)
  }
}

function doTile(task: Task, tile: u32, scratch: usize): void {
  const single = task.arithmetic === TYPE_F32
  switch (task.kind) {
    case KIND_GEMM:
      if (single) gemmTile<f32>(task, tile, scratch)
      else gemmTile<f64>(task, tile, scratch)
      break
    case KIND_NORMAL:
      if (single) normalTile<f32>(task, tile, scratch)
      else normalTile<f64>(task, tile, scratch)
      break
    case KIND_FROBENIUS:
      frobeniusTile(task, tile)
      break
    case KIND_RESIDUAL:
      residualTile(task, tile, scratch)
      break
  }
}
