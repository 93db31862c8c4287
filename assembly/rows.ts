/** C (+)= A·B for rows of A. */
import { PACKED_ROWS, TypeCode } from '../src/engine/wasm/contract'
import { addTile, multiplyPacked, SPARE_BYTES, tileHeight, tileWidth } from './block'
import { pack } from './pack'
import { blockDepth, readsRows, wholeTiles } from './sweep'
import { Task } from './task'
import { rowsF32, rowsF64 } from './unpacked'
import { Bf16 } from './widen'

/**
 * C (+)= A·B with rows [row, row + rows) of A, inner indices [from, to), and these rows of B as `packBlocks` leaves them. `scratch`: a
 * sweep's.
 */
export function multiplyRows<D>(
  task: Task,
  row: u32,
  rows: u32,
  from: u32,
  to: u32,
  packedB: usize,
  columns: u32,
  c: usize,
  strideC: usize,
  accumulate: bool,
  scratch: usize,
): void {
  const done = readsRows<D>(task.typeA, columns) ? rows - (rows % tileHeight<D>()) : 0
  if (done > 0) {
    if (task.typeA === TypeCode.f32)
      rowsAs<f32, D>(task, row, done, from, to, packedB, columns, c, strideC, accumulate, scratch)
    else if (task.typeA === TypeCode.bf16)
      rowsAs<Bf16, D>(task, row, done, from, to, packedB, columns, c, strideC, accumulate, scratch)
    else if (sizeof<D>() === 8)
      rowsAs<f64, D>(task, row, done, from, to, packedB, columns, c, strideC, accumulate, scratch)
  }
  const packedA = scratch + SPARE_BYTES
  for (let p = from; p < to; p += blockDepth<D>()) {
    const depth = min(blockDepth<D>(), to - p)
    for (let i = done; i < rows; i += PACKED_ROWS) {
      const count = min<u32>(PACKED_ROWS, rows - i)
      pack<D>(packedA, task.a, task.typeA, task.strideA, false, row + i, count, p, depth, tileHeight<D>())
      const out = c + (i as usize) * strideC
      multiplyPacked<D>(
        packedA,
        packedB,
        count,
        columns,
        depth,
        out,
        strideC,
        accumulate || p > from,
        scratch,
      )
    }
    packedB += ((depth * wholeTiles<D>(columns)) as usize) * sizeof<D>()
  }
}

/** `multiplyRows` for whole tiles, a tile's rows from end to end, so that memory is read on and on. */
function rowsAs<S, D>(
  task: Task,
  row: u32,
  rows: u32,
  from: u32,
  to: u32,
  packedB: usize,
  columns: u32,
  c: usize,
  strideC: usize,
  accumulate: bool,
  spare: usize,
): void {
  const height = tileHeight<D>()
  const width = tileWidth<D>()
  const stride = (task.strideA as usize) * sizeof<S>()
  const end = c + (rows as usize) * strideC
  let start = task.a + (row as usize) * stride
  for (; c !== end; c += (height as usize) * strideC) {
    let b = packedB
    for (let p = from; p < to; p += blockDepth<D>()) {
      const depth = min(blockDepth<D>(), to - p)
      const entry = start + p * sizeof<S>()
      const add = accumulate || p > from
      for (let j: u32 = 0; j < columns; j += width) {
        const out = c + j * sizeof<D>()
        if (j + width <= columns) {
          rowsTile<S, D>(depth, entry, stride, b, out, strideC, add)
        } else {
          rowsTile<S, D>(depth, entry, stride, b, spare, width * sizeof<D>(), false)
          addTile<D>(height, columns - j, spare, out, strideC, add)
        }
        b += ((depth * width) as usize) * sizeof<D>()
      }
    }
    start += (height as usize) * stride
  }
}

function rowsTile<S, D>(
  depth: u32,
  a: usize,
  strideA: usize,
  b: usize,
  c: usize,
  strideC: usize,
  accumulate: bool,
): void {
  if (sizeof<D>() === 4) rowsF32<S>(depth, a, strideA, b, c, strideC, accumulate)
  else rowsF64<S>(depth, a, strideA, b, c, strideC, accumulate)
}
