/** C (+)= Aᵀ·B for columns of A. */
import { PACKED_ROWS, TypeCode } from '../src/engine/wasm/contract'
import { addTile, multiplyPacked, SPARE_BYTES, tileHeight, tileWidth } from './block'
import { pack } from './pack'
import { readsColumns, wholeTiles } from './sweep'
import { Task } from './task'
import { columnsF32, columnsF64 } from './unpacked'
import { Bf16 } from './widen'

/** Rows of A at a time: more of their lines would not stay in the first-level cache until all entries of them are used. */
const STRIP_ROWS: u32 = 16
/** Columns of A at a time, whose sums stay in the first-level cache while strips are added to them. */
const SPAN_COLUMNS: u32 = 128
/** Bytes of a register tile, of either type. */
const TILE_BYTES: usize = 128

/**
 * C (+)= Aᵀ·B with columns [column, column + count) of A and one block of inner indices, A's rows [row, row + depth); these rows of B
 * are packed. `scratch`: a sweep's.
 */
export function multiplyColumns<D>(
  task: Task,
  column: u32,
  count: u32,
  row: u32,
  depth: u32,
  packedB: usize,
  columns: u32,
  c: usize,
  strideC: usize,
  accumulate: bool,
  scratch: usize,
): void {
  const done = readsColumns<D>(task.typeA, columns) ? count - (count % tileHeight<D>()) : 0
  if (done > 0) {
    if (task.typeA === TypeCode.f32)
      columnsAs<f32, D>(task, column, done, row, depth, packedB, columns, c, strideC, accumulate, scratch)
    else if (task.typeA === TypeCode.bf16)
      columnsAs<Bf16, D>(task, column, done, row, depth, packedB, columns, c, strideC, accumulate, scratch)
    else if (sizeof<D>() === 8)
      columnsAs<f64, D>(task, column, done, row, depth, packedB, columns, c, strideC, accumulate, scratch)
  }
  const packedA = scratch + SPARE_BYTES
  for (let i = done; i < count; i += PACKED_ROWS) {
    const rows = min<u32>(PACKED_ROWS, count - i)
    pack<D>(packedA, task.a, task.typeA, task.strideA, true, column + i, rows, row, depth, tileHeight<D>())
    const out = c + (i as usize) * strideC
    multiplyPacked<D>(packedA, packedB, rows, columns, depth, out, strideC, accumulate, scratch)
  }
}

/** `multiplyColumns` for whole tiles: a strip of A after the other, as its rows lie in memory, with the sums of all tiles carried on. */
function columnsAs<S, D>(
  task: Task,
  column: u32,
  count: u32,
  row: u32,
  depth: u32,
  packedB: usize,
  columns: u32,
  c: usize,
  strideC: usize,
  accumulate: bool,
  scratch: usize,
): void {
  const stride = (task.strideA as usize) * sizeof<S>()
  const start = task.a + (row as usize) * stride + column * sizeof<S>()
  const sums = scratch + SPARE_BYTES
  for (let i: u32 = 0; i < count; i += SPAN_COLUMNS) {
    const span = min(SPAN_COLUMNS, count - i)
    sumSpan<S, D>(start + i * sizeof<S>(), stride, span, depth, packedB, columns, sums)
    addSpan<D>(span, columns, sums, c + (i as usize) * strideC, strideC, accumulate)
  }
}

/** The sums of a span, tile after tile of rows within each tile of columns. */
function sumSpan<S, D>(
  a: usize,
  strideA: usize,
  count: u32,
  depth: u32,
  packedB: usize,
  columns: u32,
  sums: usize,
): void {
  memory.fill(sums, 0, ((count * wholeTiles<D>(columns)) as usize) * sizeof<D>())
  const panelB = ((depth * tileWidth<D>()) as usize) * sizeof<D>()
  const whole = depth - (depth % STRIP_ROWS)
  for (let p: u32 = 0; p < whole; p += STRIP_ROWS) {
    addStrip<S, D>(a, strideA, count, STRIP_ROWS, packedB, panelB, columns, sums)
    a += (STRIP_ROWS as usize) * strideA
    packedB += ((STRIP_ROWS * tileWidth<D>()) as usize) * sizeof<D>()
  }
  if (whole < depth) addStrip<S, D>(a, strideA, count, depth - whole, packedB, panelB, columns, sums)
}

/** Adds the terms of a strip of A, `rows` × `count`, to the sums. A function of its own, so that V8 soon runs it compiled by its better compiler. */
function addStrip<S, D>(
  a: usize,
  strideA: usize,
  count: u32,
  rows: u32,
  b: usize,
  panelB: usize,
  columns: u32,
  sums: usize,
): void {
  const step = tileHeight<D>() * sizeof<S>()
  const end = a + count * sizeof<S>()
  for (let j: u32 = 0; j < columns; j += tileWidth<D>()) {
    for (let entry = a; entry !== end; entry += step) {
      if (sizeof<D>() === 4) columnsF32<S>(rows, entry, strideA, b, sums)
      else columnsF64<S>(rows, entry, strideA, b, sums)
      sums += TILE_BYTES
    }
    b += panelB
  }
}

function addSpan<D>(count: u32, columns: u32, sums: usize, c: usize, strideC: usize, accumulate: bool): void {
  const height = tileHeight<D>()
  const width = tileWidth<D>()
  for (let j: u32 = 0; j < columns; j += width) {
    const end = c + (count as usize) * strideC
    for (let out = c; out !== end; out += (height as usize) * strideC) {
      addTile<D>(height, min(width, columns - j), sums, out + j * sizeof<D>(), strideC, accumulate)
      sums += TILE_BYTES
    }
  }
}
