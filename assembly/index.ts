/** The kernels the host calls. Addresses are bytes in the shared memory that the host hands out. */
import { Kind, TypeCode } from '../src/engine/wasm/contract'
import { GEMM_SCRATCH_BYTES, gemmTile } from './gemm'
import { normalTile } from './normal'
import { frobeniusTile, residualTile } from './reduce'
import { Task } from './task'

export { singularValues } from './bidiagonal'
export { takeStripes } from './checksum'
export { addExponents, subtract } from './difference'
export { mirrorLower } from './gemm'
export { splitHalves } from './halves'
export { inverseIteration } from './inverse-iteration'
export { orthogonalize } from './jacobi'
export { gemv, gemvTransposed, ger, symvUpper } from './matrix-vector'
export { packRight } from './normal'
export { factorPanel, reducePanel } from './panel'
export { sumMatrices, sumTree } from './reduce'
export { rescale } from './rescale'
export { secularRoots, secularVectors } from './secular'
export { addSquares } from './squares'
export { tridiagonalQl } from './tridiagonal'
export { addRounded } from './update'
export { divide, largestAbs, makeReflector, rotate, scale, sumOfSquares } from './vector'

/** The first byte the host may hand out. */
export function heapBase(): usize {
  return __heap_base
}

/** Bytes of private memory that each thread calling `work` needs. */
export function scratchBytes(): usize {
  return GEMM_SCRATCH_BYTES
}

/** Takes tiles of the task until none is left. Any number of threads may be in here at once. */
export function work(task: Task, scratch: usize): void {
  for (;;) {
    const tile = task.take()
    if (tile >= task.tiles) return
    doTile(task, tile, scratch)
  }
}

function doTile(task: Task, tile: u32, scratch: usize): void {
  const single = task.arithmetic === TypeCode.f32
  switch (task.kind) {
    case Kind.gemm:
      if (single) gemmTile<f32>(task, tile, scratch)
      else gemmTile<f64>(task, tile, scratch)
      break
    case Kind.normal:
      if (single) normalTile<f32>(task, tile, scratch)
      else normalTile<f64>(task, tile, scratch)
      break
    case Kind.frobenius:
      frobeniusTile(task, tile)
      break
    case Kind.residual:
      residualTile(task, tile, scratch)
      break
  }
}
