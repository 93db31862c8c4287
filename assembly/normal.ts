/**
 * Aᵀ·(A·X) in one sweep over the rows of A, for X with few columns: a panel of A is read from memory once
 * and used twice while it is in cache.
 *
 * Bits: tile t is the fixed range of rows [t·tileRows, (t + 1)·tileRows), summed panel by panel into a result
 * of its own, and the host adds the results in a fixed tree. Which thread takes which tile changes nothing.
 */
import { MAX_NORMAL_COLUMNS, PACKED_ROWS, PANEL_ROWS, TypeCode } from '../src/engine/wasm/contract'
import { multiplyPacked, SPARE_BYTES, tileHeight, tileWidth } from './block'
import { blockDepth, PACKED_A_BYTES } from './gemm'
import { pack } from './pack'
import { Task } from './task'

const PANEL_BYTES: usize = (PANEL_ROWS * MAX_NORMAL_COLUMNS * 8) as usize

/** Rounds a number of columns up to whole register tiles of arithmetic in D. */
function wholeTiles<D>(columns: u32): u32 {
  const width = tileWidth<D>()
  return ((columns + width - 1) / width) * width
}

function packRightAs<D>(target: usize, b: usize, columns: u32, depth: u32): void {
  const type = sizeof<D>() === 4 ? TypeCode.f32 : TypeCode.f64
  for (let p: u32 = 0; p < depth; p += blockDepth<D>()) {
    const block = min(blockDepth<D>(), depth - p)
    pack<D>(target, b, type, columns, true, 0, columns, p, block, tileWidth<D>())
    target += ((block * wholeTiles<D>(columns)) as usize) * sizeof<D>()
  }
}

/** Packs all of X, depth × columns, stored in the float type of the arithmetic, for the tiles of Kind.normal to share. */
export function packRight(target: usize, x: usize, arithmetic: u32, columns: u32, depth: u32): void {
  if (arithmetic === TypeCode.f32) packRightAs<f32>(target, x, columns, depth)
  else packRightAs<f64>(target, x, columns, depth)
}

/** m × k: A at `a`; n: columns of X; `b`: X as `packRight` leaves it; partials: a k × n result for each tile. */
export function normalTile<D>(task: Task, tile: u32, scratch: usize): void {
  const spare = scratch
  const packedA = spare + SPARE_BYTES
  const product = packedA + PACKED_A_BYTES
  const packedProduct = product + PANEL_BYTES
  const columns = task.n
  const stride = (columns as usize) * sizeof<D>()
  const result = task.partials + (tile as usize) * task.k * stride
  const row0 = tile * task.tileRows
  const row1 = min(task.m, row0 + task.tileRows)
  for (let i = row0; i < row1; i += PANEL_ROWS) {
    const rows = min<u32>(PANEL_ROWS, row1 - i)
    panelTimesRight<D>(task, i, rows, product, spare, packedA)
    pack<D>(
      packedProduct,
      product,
      sizeof<D>() === 4 ? TypeCode.f32 : TypeCode.f64,
      columns,
      true,
      0,
      columns,
      0,
      rows,
      tileWidth<D>(),
    )
    const step = (PACKED_A_BYTES as u32) / (PANEL_ROWS * sizeof<D>())
    for (let j: u32 = 0; j < task.k; j += step) {
      const count = min(step, task.k - j)
      pack<D>(packedA, task.a, task.typeA, task.strideA, true, j, count, i, rows, tileHeight<D>())
      const out = result + (j as usize) * stride
      multiplyPacked<D>(packedA, packedProduct, count, columns, rows, out, stride, i > row0, spare)
    }
  }
}

/** product = A[i … i + rows)·X. */
function panelTimesRight<D>(
  task: Task,
  i: u32,
  rows: u32,
  product: usize,
  spare: usize,
  packedA: usize,
): void {
  const columns = task.n
  const stride = (columns as usize) * sizeof<D>()
  let right = task.b
  for (let p: u32 = 0; p < task.k; p += blockDepth<D>()) {
    const depth = min(blockDepth<D>(), task.k - p)
    for (let r: u32 = 0; r < rows; r += PACKED_ROWS) {
      const count = min<u32>(PACKED_ROWS, rows - r)
      pack<D>(packedA, task.a, task.typeA, task.strideA, false, i + r, count, p, depth, tileHeight<D>())
      const out = product + (r as usize) * stride
      multiplyPacked<D>(packedA, right, count, columns, depth, out, stride, p > 0, spare)
    }
    right += ((depth * wholeTiles<D>(columns)) as usize) * sizeof<D>()
  }
}
