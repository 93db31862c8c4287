/**
 * What C (+)= op(A)·B by rows.ts and by columns.ts have in common. Where B has few columns they read A where it lies, and where it has more
 * they pack it. Either way an entry is the same sum in the same order, so its bits are the same.
 */
import { DEPTH_F32, DEPTH_F64, PACKED_ROWS, TypeCode } from '../src/engine/wasm/contract'
import { SPARE_BYTES, tileWidth } from './block'
import { pack } from './pack'

export const PACKED_A_BYTES: usize = (PACKED_ROWS * DEPTH_F32 * 4) as usize

/** Bytes of private memory that a sweep needs. */
export const SWEEP_SCRATCH_BYTES: usize = SPARE_BYTES + PACKED_A_BYTES

/** Inner indices that are summed at a time. */
export function blockDepth<D>(): u32 {
  return sizeof<D>() === 4 ? DEPTH_F32 : DEPTH_F64
}

/** Rounds a number of columns up to whole register tiles of arithmetic in D. */
export function wholeTiles<D>(columns: u32): u32 {
  const width = tileWidth<D>()
  return ((columns + width - 1) / width) * width
}

/** Packs rows [from, to) of columns [column0, column0 + columns) of op(B) block by block, for `multiplyRows`. */
export function packBlocks<D>(
  target: usize,
  b: usize,
  type: u32,
  stride: usize,
  along: bool,
  column0: u32,
  columns: u32,
  from: u32,
  to: u32,
): void {
  for (let p = from; p < to; p += blockDepth<D>()) {
    const depth = min(blockDepth<D>(), to - p)
    pack<D>(target, b, type, stride, along, column0, columns, p, depth, tileWidth<D>())
    target += ((depth * wholeTiles<D>(columns)) as usize) * sizeof<D>()
  }
}

/** The most columns of B with which reading A where it lies is faster than packing it, as measured on Node 20. */
const MOST_FOR_ROWS_F32: u32 = 64
const MOST_FOR_ROWS_F64: u32 = 32
const MOST_FOR_COLUMNS_F32: u32 = 40
const MOST_FOR_COLUMNS_F64: u32 = 16
/** The same for entries that are widened each time that they are read. A binary16, which takes longer to widen, is always packed. */
const MOST_WHERE_WIDENED: u32 = 16

/** Whether there are micro-kernels that read A where it lies and are faster than packing it. */
function isReadable<D>(typeA: u32, columns: u32, most: u32): bool {
  if (typeA === TypeCode.f16 || (typeA === TypeCode.f64 && sizeof<D>() === 4)) return false
  const asStored = typeA === (sizeof<D>() === 4 ? TypeCode.f32 : TypeCode.f64)
  return columns <= (asStored ? most : MOST_WHERE_WIDENED)
}

/** Whether `multiplyRows` reads A where it lies. */
export function readsRows<D>(typeA: u32, columns: u32): bool {
  return isReadable<D>(typeA, columns, sizeof<D>() === 4 ? MOST_FOR_ROWS_F32 : MOST_FOR_ROWS_F64)
}

/** Whether `multiplyColumns` reads A where it lies. */
export function readsColumns<D>(typeA: u32, columns: u32): bool {
  return isReadable<D>(typeA, columns, sizeof<D>() === 4 ? MOST_FOR_COLUMNS_F32 : MOST_FOR_COLUMNS_F64)
}
